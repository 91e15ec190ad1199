"""Field cases of actions that the caller is asked about first: M1, M14, M15 and T1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.backend import Backend, Caller
from tests.support.conversation import Tools, results_in
from tests.support.gemini import Gemini, calls, text

QUESTION = "Book a table for 4 at 7 pm?"
BOOK = calls(("book", {"people": 4, "time": "7 pm"}))
YES = calls(("confirm", {"yes": True}))
ONCE = {"book began": 1, "book done": 1, "book people=4 time=7 pm": 1}


@pytest.fixture
async def caller(start: Any, deeds: Tools) -> Caller:
    backend: Backend = await start(tools_dir=deeds.folder)
    return backend.caller("c1")


# M1: a yes is a yes

NO_ANSWERS: list[Any] = ["false", "no", "true", "yes", "", 0, 1, 1.0, None, [], ["yes"], {}]


@pytest.mark.parametrize(
    "arguments",
    [*({"yes": value} for value in NO_ANSWERS), {}, {"Yes": True}, {"answer": True}],
    ids=repr,
)
async def test_m1_what_is_not_clearly_a_yes_books_nothing_and_is_told_in_words(
    gemini: Gemini, caller: Caller, deeds: Tools, arguments: dict[str, Any]
) -> None:
    """A yes is the boolean true and nothing else; the action still waits for one."""
    gemini.script(BOOK, calls(("confirm", arguments)), text("Shall I?"), YES, text("It is booked."))
    await caller.say("A table for four at seven")
    assert (await caller.say("Hm")).text == "Shall I?"
    assert not deeds.done("c1")
    told = results_in(gemini.requests[2].body)[1]
    assert told[0] == "confirm"
    assert told[1].startswith("Nothing was done: the arguments are wrong. yes: ")
    assert (await caller.say("Yes")).text == "It is booked."
    assert deeds.done("c1") == ONCE


async def test_m1_a_no_in_words_books_nothing(gemini: Gemini, caller: Caller, deeds: Tools) -> None:
    """The boolean false is a no: the action is dropped."""
    gemini.script(BOOK, calls(("confirm", {"yes": False})), text("As you wish."), YES, text("There is none."))
    await caller.say("A table for four at seven")
    await caller.say("No")
    await caller.say("Yes")
    assert results_in(gemini.requests[2].body)[1] == ("confirm", "Nothing was done, as the caller wished.")
    assert "there is nothing to confirm" in results_in(gemini.requests[4].body)[2][1]
    assert not deeds.done("c1")


async def test_m1_a_yes_and_a_no_in_one_answer_do_nothing(gemini: Gemini, caller: Caller, deeds: Tools) -> None:
    """Calls that contradict each other are no answer, in either order."""
    both = calls(("confirm", {"yes": True}), ("confirm", {"yes": False}))
    gemini.script(BOOK, both, text("Yes or no?"), YES, text("It is booked."))
    await caller.say("A table for four at seven")
    await caller.say("Yes, no, well")
    assert not deeds.done("c1")
    assert all("contradict" in result for _, result in results_in(gemini.requests[2].body)[1:])
    await caller.say("Yes")
    assert deeds.done("c1") == ONCE


REFUNDS = '''
from agent import voice_tool
RUNS = []

@voice_tool
async def pay_back(order: int, all_of_it: bool = False, notes: list[bool] | None = None) -> str:
    """Pay money back."""
    RUNS.append((order, all_of_it))
    return f"Paid back {order}, {all_of_it}."

@voice_tool(on_barge_in="cancel")
async def look(order: int, closely: bool = False) -> str:
    """Only reads."""
    return f"Order {order}, {closely}."

@voice_tool(confirm="Cancel order {order}?")
async def cancel(order: int) -> str:
    """Cancel an order."""
    return f"Cancelled {order!r}."
'''


@pytest.fixture
async def shopper(start: Any, tmp_path: Path) -> Caller:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "shop.py").write_text(REFUNDS)
    backend: Backend = await start(tools_dir=tmp_path / "shop")
    return backend.caller("c1")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"order": 7, "all_of_it": "no"}, "all_of_it: true or false itself"),
        ({"order": 7, "all_of_it": 1}, "all_of_it: true or false itself"),
        ({"order": 7, "notes": [True, "yes"]}, "notes.1: true or false itself"),
        ({"order": True}, "order: true or false is not its value"),
        ({"order": 7, "amount": 5}, "amount: there is no such argument"),
        ({"order": 7.5}, "order: Input should be a valid integer"),
    ],
)
async def test_m1_an_argument_that_decides_about_an_action_is_not_guessed(
    gemini: Gemini, shopper: Caller, arguments: dict[str, Any], fault: str
) -> None:
    """What would have to be guessed at, or would be dropped without a word, is told to the model; nothing is run."""
    gemini.script(calls(("pay_back", arguments)), text("One more time."))
    reply = await shopper.say("Pay it back")
    assert fault in results_in(gemini.requests[1].body)[0][1]
    assert not reply.data, "the tool did not start"


async def test_m1_what_only_reads_is_read_as_far_as_it_goes(gemini: Gemini, shopper: Caller) -> None:
    """Where nothing is decided, pydantic's reading is good enough, and a needless argument costs no round trip."""
    gemini.script(calls(("look", {"order": "7", "closely": "yes", "page": 2})), text("Here."))
    await shopper.say("Look it up")
    assert results_in(gemini.requests[1].body)[0][1] == "Order 7, True."


async def test_m1_the_question_and_the_run_have_the_same_values(gemini: Gemini, shopper: Caller) -> None:
    """ "7.0" for a whole number is asked about as it will be run."""
    gemini.script(calls(("cancel", {"order": " 7.0 "})), YES, text("Done."))
    assert (await shopper.say("Cancel it")).text == "Cancel order 7?"
    await shopper.say("Yes")
    assert results_in(gemini.requests[2].body)[1][1] == "Cancelled 7."


# M14: asked once


async def test_m14_the_action_called_again_after_its_question_was_answered_is_not_asked_again(
    gemini: Gemini, caller: Caller, deeds: Tools
) -> None:
    """The model is told to use `confirm`, and does."""
    gemini.script(BOOK, BOOK, YES, text("It is booked."))
    assert (await caller.say("A table for four at seven")).text == QUESTION
    assert (await caller.say("Yes")).text == "It is booked."
    assert "Call `confirm` with what they have answered" in results_in(gemini.requests[2].body)[1][1]
    assert deeds.done("c1") == ONCE


async def test_m14_the_same_question_is_never_put_twice_in_a_row_to_somebody_who_has_answered(
    gemini: Gemini, caller: Caller, deeds: Tools
) -> None:
    """However often the model calls the action's own tool; also with its arguments written otherwise."""
    other = calls(("book", {"people": "4", "time": "7 pm"}))
    gemini.script(BOOK, BOOK, other, BOOK, text("I could not book it."))
    await caller.say("A table for four at seven")
    assert (await caller.say("Yes")).text == "I could not book it."
    assert not deeds.done("c1")


async def test_m14_another_action_of_the_same_tool_is_asked_about(gemini: Gemini, caller: Caller, deeds: Tools) -> None:
    """Other arguments are another question."""
    gemini.script(BOOK, calls(("book", {"people": 5, "time": "7 pm"})))
    await caller.say("A table for four at seven")
    assert (await caller.say("Make it five")).text == "Book a table for 5 at 7 pm?"


async def test_m14_declined_it_can_be_asked_again(gemini: Gemini, caller: Caller, deeds: Tools) -> None:
    """Somebody who said no and changes their mind."""
    gemini.script(BOOK, calls(("confirm", {"yes": False})), text("As you wish."), BOOK)
    await caller.say("A table for four at seven")
    await caller.say("No")
    assert (await caller.say("Oh, do book it")).text == QUESTION


# M15: a report that lags behind


async def test_m15_a_question_heard_but_for_its_last_word_counts_at_the_second_time(
    gemini: Gemini, caller: Caller, deeds: Tools
) -> None:
    """The first time it is asked once more; twice the same means that the report lags behind the ear."""
    gemini.script(BOOK, BOOK, YES, text("It is booked."))
    await caller.say("A table for four at seven", turn="t1")
    assert (await caller.say("Yes", turn="t2", heard=("t1", "Book a table for 4 at 7"))).text == QUESTION
    assert not deeds.done("c1")
    assert (await caller.say("Yes!", turn="t3", heard=("t2", "Book a table for 4 at 7"))).text == "It is booked."
    assert deeds.done("c1") == ONCE


async def test_m15_one_time_is_not_enough_though_the_caller_says_yes_twice(
    gemini: Gemini, caller: Caller, deeds: Tools
) -> None:
    """It is the question that must have been put twice."""
    gemini.script(BOOK, YES, text("Sorry?"), YES, text("Sorry?"))
    await caller.say("A table for four at seven", turn="t1")
    await caller.say("Yes", turn="t2", heard=("t1", "Book a table for 4 at 7"))
    await caller.say("Yes", turn="t3")
    assert not deeds.done("c1")


async def test_m15_two_words_that_were_not_heard_never_count(gemini: Gemini, caller: Caller, deeds: Tools) -> None:
    gemini.script(BOOK, BOOK, YES, text("Sorry?"))
    await caller.say("A table for four at seven", turn="t1")
    await caller.say("Yes", turn="t2", heard=("t1", "Book a table for 4 at"))
    await caller.say("Yes", turn="t3", heard=("t2", "Book a table for 4 at"))
    assert not deeds.done("c1")


async def test_m15_another_question_does_not_count_as_the_second_time(
    gemini: Gemini, caller: Caller, deeds: Tools
) -> None:
    gemini.script(BOOK, calls(("book", {"people": 4, "time": "8 pm"})), YES, text("Sorry?"))
    await caller.say("A table for four at seven", turn="t1")
    await caller.say("At eight", turn="t2", heard=("t1", "Book a table for 4 at 7"))
    await caller.say("Yes", turn="t3", heard=("t2", "Book a table for 4 at 8"))
    assert not deeds.done("c1")


# T1: looked at before it is asked


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"people": 4, "time": "", "date": "tomorrow"}, "the time is unclear"),
        ({"people": 4, "time": "7 pm", "date": "yesterday"}, "that time has passed"),
        ({"people": 4, "time": "7 pm", "date": "2020-01-01"}, "that time has passed"),
        ({"people": 4, "time": "25:00", "date": "tomorrow"}, "there is no such time of day"),
        ({"people": 4, "time": "7", "date": "tomorrow"}, "in the morning or in the evening"),
        ({"people": 0, "time": "7 pm", "date": "tomorrow"}, "a table is for 1 to 20"),
        ({"people": 4, "time": "7 pm", "date": "the day after"}, "the date is unclear"),
    ],
)
async def test_t1_a_table_that_cannot_be_booked_is_not_asked_about(
    gemini: Gemini, start: Any, arguments: dict[str, Any], fault: str
) -> None:
    """`tools/bookings.py` looks at the arguments first: "Book a table for 4 tomorrow at ?" is never heard."""
    gemini.script(calls(("book_table", arguments)), text("When shall it be?"))
    caller = (await start()).caller()
    assert (await caller.say("A table, please")).text == "When shall it be?"
    assert fault in results_in(gemini.requests[1].body)[0][1]


async def test_t1_an_empty_date_is_completed(gemini: Gemini, start: Any) -> None:
    """What the check puts in place of an argument is what is asked, and what is run."""
    gemini.script(calls(("book_table", {"people": 4, "time": "23:59", "date": " "})))
    caller = (await start()).caller()
    assert (await caller.say("A table, please")).text == "Book a table for 4 today at 23:59?"


CHECKS = '''
import asyncio, time
from langchain_core.tools import ToolException
from agent import say, tool_context, voice_tool

async def in_stock(what, count):
    if what == "nothing":
        raise ToolException("Ask what they want.")
    if what == "slow":
        await asyncio.sleep(30)
    if what == "broken":
        raise RuntimeError("the secret is 42")
    if what == "loud":
        say("Looking.")
    if what == "odd":
        return {"count": "many"}
    assert isinstance(count, int)
    assert tool_context().conversation_id == "c1"
    return {"what": what.lower(), "count": count or 1}

@voice_tool(confirm="Order {count} {what}?", check=in_stock)
async def order(what: str, count: int = 0, to: str = "") -> str:
    """Order something."""
    return f"Ordered {count} {what}."

def known(place: str):
    time.sleep(0.01)
    return None if place else {"place": "home"}

@voice_tool(check=known, on_barge_in="cancel")
async def weather(place: str = "") -> str:
    """The weather."""
    return f"Sunny at {place}."

@voice_tool(confirm="Send it to {name}, {street}?")
async def send(name: str, street: str | None = None) -> str:
    """Send it."""
    return "Sent."
'''


@pytest.fixture
async def checked(start: Any, tmp_path: Path) -> Caller:
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "checks.py").write_text(CHECKS)
    backend: Backend = await start(tools_dir=tmp_path / "checks")
    return backend.caller("c1")


async def test_t1_what_a_check_completes_is_asked_and_run(gemini: Gemini, checked: Caller) -> None:
    gemini.script(calls(("order", {"what": "TEA"})), YES, text("Done."))
    assert (await checked.say("Tea")).text == "Order 1 tea?"
    await checked.say("Yes")
    assert results_in(gemini.requests[2].body)[1][1] == "Ordered 1 tea."


async def test_t1_a_check_refuses_in_its_own_words(gemini: Gemini, checked: Caller) -> None:
    gemini.script(calls(("order", {"what": "nothing"})), text("What would you like?"))
    assert (await checked.say("I want something")).text == "What would you like?"
    assert results_in(gemini.requests[1].body)[0][1] == "Ask what they want."


@pytest.mark.parametrize("what", ["broken", "loud"])
async def test_t1_a_check_that_fails_asks_and_runs_nothing(gemini: Gemini, checked: Caller, what: str) -> None:
    """And its error stays with us."""
    gemini.script(calls(("order", {"what": what})), text("It does not work."))
    assert (await checked.say("Order it")).text == "It does not work."
    told = results_in(gemini.requests[1].body)[0][1]
    assert told.startswith("order was not started: it could not be checked")


async def test_t1_a_check_that_puts_wrong_arguments_runs_nothing(gemini: Gemini, checked: Caller) -> None:
    gemini.script(calls(("order", {"what": "odd"})), text("It does not work."))
    await checked.say("Order it")
    assert "count: Input should be a valid integer" in results_in(gemini.requests[1].body)[0][1]


async def test_t1_a_check_has_a_short_time(gemini: Gemini, checked: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.tooling.check._SECONDS", 0.05)
    gemini.script(calls(("order", {"what": "slow"})), text("It does not work."))
    assert (await checked.say("Order it")).text == "It does not work."
    assert "could not be checked" in results_in(gemini.requests[1].body)[0][1]


async def test_t1_a_tool_without_a_question_is_checked_too(gemini: Gemini, checked: Caller) -> None:
    """A check may be a function without async, which gets a thread."""
    gemini.script(calls(("weather", {"place": ""})), text("Sunny."))
    await checked.say("Weather?")
    assert results_in(gemini.requests[1].body)[0][1] == "Sunny at home."


@pytest.mark.parametrize("street", [{}, {"street": None}, {"street": "  "}])
async def test_t1_a_question_with_a_hole_in_it_is_not_asked(
    gemini: Gemini, checked: Caller, street: dict[str, Any]
) -> None:
    """The model is told what is missing; a tool needs no check for that."""
    gemini.script(calls(("send", {"name": "Ada", **street})), text("Which street?"))
    assert (await checked.say("Send it to Ada")).text == "Which street?"
    assert "as this is missing: street." in results_in(gemini.requests[1].body)[0][1]


async def test_t1_of_two_actions_the_one_that_can_be_asked_about_is(gemini: Gemini, checked: Caller) -> None:
    both = calls(("order", {"what": "nothing"}), ("order", {"what": "tea"}))
    gemini.script(both, text("What else?"))
    assert (await checked.say("Tea and something")).text == "What else? Order 1 tea?"
