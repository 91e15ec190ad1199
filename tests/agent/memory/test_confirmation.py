"""ToolRunner that are confirmed first: asked aloud, run only by `confirm`, and only once the question was heard."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.backend import Backend, Caller
from tests.support.conversation import Tools, answers_in, offered, quiet, results_in
from tests.support.gemini import Answer, Gemini, calls, text

QUESTION = "Book a table for 4 at 7 pm?"
BOOK = calls(("book", {"people": 4, "time": "7 pm"}))
YES, NO = calls(("confirm", {"yes": True})), calls(("confirm", {"yes": False}))
ONCE = {"book began": 1, "book done": 1, "book people=4 time=7 pm": 1}


@pytest.fixture
async def backend_(start: Any, deeds: Tools) -> Backend:
    backend: Backend = await start(tools_dir=deeds.folder)
    return backend


@pytest.fixture
def caller(backend_: Backend) -> Caller:
    return backend_.caller("c1")


async def test_it_is_asked_aloud_and_run_when_the_caller_agrees(gemini: Gemini, caller: Caller, deeds: Tools) -> None:
    gemini.script(BOOK, YES, text("It is booked."))
    asked = await caller.say("A table for four at seven")
    assert asked.text == QUESTION
    assert asked.ended_once
    assert not deeds.done("c1")

    assert (await caller.say("Yes please")).text == "It is booked."
    assert answers_in(gemini.requests[1].body) == [QUESTION]
    assert results_in(gemini.requests[2].body)[1] == ("confirm", "Booked for 4 at 7 pm.")
    assert all("confirm" in offered(request.body) for request in gemini.requests)
    assert deeds.done("c1") == ONCE


async def test_the_pinned_arguments_are_run_whatever_else_the_model_sends(
    gemini: Gemini, caller: Caller, deeds: Tools
) -> None:
    gemini.script(BOOK, calls(("confirm", {"yes": True, "people": 40, "time": "3 am"})), text("It is booked."))
    await caller.say("A table for four at seven")
    await caller.say("Yes")
    assert deeds.done("c1") == ONCE


async def test_declined_nothing_happens_and_nothing_is_left_to_confirm(
    gemini: Gemini, caller: Caller, deeds: Tools
) -> None:
    gemini.script(BOOK, NO, text("As you wish."), YES, text("Hm?"))
    await caller.say("A table for four at seven")
    assert (await caller.say("No")).text == "As you wish."
    await caller.say("Yes!")
    assert results_in(gemini.requests[2].body)[1] == ("confirm", "Nothing was done, as the caller wished.")
    assert "there is nothing to confirm" in results_in(gemini.requests[4].body)[2][1]
    assert not deeds.done("c1")


NEW = ("book", {"people": 5, "time": "8 pm"})


@pytest.mark.parametrize(
    "change",
    [calls(NEW), calls(NEW, ("confirm", {"yes": False})), calls(("confirm", {"yes": False}), NEW)],
    ids=["new", "new_then_declined", "declined_then_new"],
)
async def test_changed_the_new_call_takes_the_place_of_the_old(
    gemini: Gemini, caller: Caller, deeds: Tools, change: Answer
) -> None:
    """In whatever order the model declines the one and calls the other."""
    two = len(change.chunks[0].parts) > 1
    gemini.script(BOOK, change, *[text("I see.")] * two, YES, text("It is booked."))
    await caller.say("A table for four at seven")
    assert (await caller.say("Make it five, at eight")).text.endswith("Book a table for 5 at 8 pm?")
    assert not deeds.done("c1")
    await caller.say("Yes")
    assert deeds.done("c1") == {"book began": 1, "book done": 1, "book people=5 time=8 pm": 1}


async def test_it_expires_after_two_turns(gemini: Gemini, caller: Caller, deeds: Tools) -> None:
    gemini.script(BOOK, text("A."), text("B."), YES, text("C."))
    await caller.say("A table for four at seven")
    for words in ("What's the weather?", "And tomorrow?", "Yes"):
        await caller.say(words)
    assert "there is nothing to confirm" in results_in(gemini.requests[4].body)[1][1]
    assert not deeds.done("c1")


async def test_it_can_be_confirmed_in_the_second_turn(gemini: Gemini, caller: Caller, deeds: Tools) -> None:
    gemini.script(BOOK, text("Sunny."), YES, text("It is booked."))
    await caller.say("A table for four at seven")
    await caller.say("What's the weather?")
    await caller.say("Good. Then yes")
    assert deeds.done("c1") == ONCE


@pytest.mark.parametrize("heard", ["", "Book a table", "BOOK A TABLE FOR 4 AT"])
async def test_a_question_that_was_not_heard_to_its_end_asks_nothing(
    gemini: Gemini, caller: Caller, deeds: Tools, heard: str
) -> None:
    """The stream was complete, but the caller spoke into it."""
    gemini.script(BOOK, YES, text("Sorry?"))
    await caller.say("A table for four at seven", turn="t1")
    await caller.say("Yes yes", turn="t2", heard=("t1", heard))
    assert "there is nothing to confirm" in results_in(gemini.requests[2].body)[1][1]
    assert not deeds.done("c1")


async def test_a_question_that_was_heard_to_its_end_asks_though_it_was_interrupted(
    gemini: Gemini, caller: Caller, deeds: Tools
) -> None:
    """The caller speaks into the silence behind it; the synthesiser writes it differently."""
    gemini.script(BOOK, YES, text("It is booked."))
    await caller.say("A table for four at seven", turn="t1")
    await caller.say("Yes", turn="t2", heard=("t1", "book a table for four at 7 PM"))
    assert deeds.done("c1") == ONCE


async def test_the_line_dropped_before_the_question_leaves_nothing_to_confirm(
    gemini: Gemini, backend_: Backend, caller: Caller, deeds: Tools
) -> None:
    late = calls(("book", {"people": 4, "time": "7 pm"}), text="Let me see.", delay=0.05)
    gemini.script(late, YES, text("Hm?"))
    await caller.say("A table for four at seven", hang_up_after=1)
    await caller.say("Yes")
    assert "there is nothing to confirm" in results_in(gemini.requests[2].body)[0][1]
    assert not deeds.done("c1")


async def test_confirmed_in_the_very_turn_that_asks_it_is_not_run(gemini: Gemini, caller: Caller, deeds: Tools) -> None:
    """The model answers its own question, in the place of the caller."""
    gemini.script(calls(("book", {"people": 4, "time": "7 pm"}), ("fetch", {"city": "Rome"})), YES, text("Sunny."))
    reply = await caller.say("A table and the weather")
    assert reply.text == f"Checking Rome. Sunny. {QUESTION}"
    assert not deeds.done("c1")["book began"]


async def test_confirmed_twice_it_runs_once(gemini: Gemini, caller: Caller, deeds: Tools) -> None:
    """Two calls in one step, and a third in the next."""
    twice = calls(("confirm", {"yes": True}), ("confirm", {"yes": True}))
    gemini.script(BOOK, twice, YES, text("It is booked."))
    await caller.say("A table for four at seven")
    await caller.say("Yes yes")
    assert deeds.done("c1") == ONCE
    results = [result for _, result in results_in(gemini.requests[3].body)]
    assert results[1] == "Booked for 4 at 7 pm."
    assert results[2] == results[1]
    assert "Nothing was done" in results[3]


async def test_confirmed_by_a_duplicated_webhook_it_runs_once(gemini: Gemini, caller: Caller, deeds: Tools) -> None:
    gemini.script(BOOK, YES, text("It is booked."))
    await caller.say("A table for four at seven", turn="t1")
    replies = await asyncio.gather(*(caller.say("Yes", turn="t2") for _ in range(4)))
    replies.append(await caller.say("Yes", turn="t2"))
    assert {reply.text for reply in replies} == {"It is booked."}
    assert deeds.done("c1") == ONCE


async def test_asked_beside_other_calls_the_question_comes_last(gemini: Gemini, caller: Caller, deeds: Tools) -> None:
    both = calls(("book", {"people": 4, "time": "7 pm"}), ("order", {"thing": "soup"}))
    gemini.script(both, text("The soup is ordered."), YES, text("And booked."))
    assert (await caller.say("Soup, and a table")).text == f"The soup is ordered. {QUESTION}"
    assert (await caller.say("Yes")).text == "And booked."
    assert deeds.done("c1") == {**ONCE, "order began": 1, "order done": 1}


async def test_of_two_to_be_confirmed_one_is_asked_and_the_other_told_to_wait(
    gemini: Gemini, caller: Caller, deeds: Tools
) -> None:
    gemini.script(calls(("book", {"people": 4, "time": "7 pm"}), NEW), text("One by one."), YES, text("Booked."))
    assert (await caller.say("Two tables")).text == f"One by one. {QUESTION}"
    await caller.say("Yes")
    assert deeds.done("c1") == ONCE
    assert "another action waits" in results_in(gemini.requests[1].body)[1][1]


async def test_wrong_arguments_are_mended_before_the_caller_is_asked(
    gemini: Gemini, caller: Caller, deeds: Tools
) -> None:
    gemini.script(calls(("book", {"people": "many", "time": "7 pm"})), text("How many are you?"))
    assert (await caller.say("A table for many")).text == "How many are you?"
    assert "the arguments are wrong" in results_in(gemini.requests[1].body)[0][1]


async def test_interrupted_while_it_runs_it_finishes_and_is_told(
    gemini: Gemini, backend_: Backend, caller: Caller, deeds: Tools
) -> None:
    slow = calls(("book", {"people": 4, "time": "7 pm", "seconds": 0.2}))
    gemini.script(slow, YES, text("Yes?"))
    await caller.say("A table for four at seven")
    turn = asyncio.create_task(caller.say("Yes"))
    await deeds.until("c1", "book began")
    turn.cancel()
    await quiet(backend_)
    await caller.say("Is it done?")
    assert results_in(gemini.requests[2].body)[1] == ("confirm", "Booked for 4 at 7 pm.")
    assert deeds.done("c1") == ONCE


async def test_a_yes_that_was_interrupted_before_the_action_began_can_be_said_again(
    gemini: Gemini, caller: Caller, deeds: Tools
) -> None:
    """ "Yes", and a moment later "please": the second message interrupts the first."""
    late_yes = calls(("confirm", {"yes": True}), text="Very well.", delay=0.05)
    gemini.script(BOOK, late_yes, YES, text("It is booked."))
    await caller.say("A table for four at seven")
    await caller.say("Yes", hang_up_after=1)
    assert not deeds.done("c1")
    assert (await caller.say("please")).text == "It is booked."
    assert deeds.done("c1") == ONCE


async def test_a_question_survives_a_restart(gemini: Gemini, start: Any, deeds: Tools) -> None:
    gemini.script(BOOK, YES, text("It is booked."))
    first: Backend = await start(tools_dir=deeds.folder)
    await first.caller("c1").say("A table for four at seven", turn="t1")
    second: Backend = await start(tools_dir=deeds.folder)
    assert (await second.caller("c1").say("Yes", turn="t2")).text == "It is booked."
    assert deeds.done("c1") == ONCE
