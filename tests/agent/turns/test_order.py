"""One turn at a time per conversation: the newest wins, and nobody's words are lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.backend import Backend, Caller, signed
from tests.support.conversation import NEVER_ASKED, Tools, answers_in, caller_said, question, requests_for, results_in
from tests.support.gemini import Answer, Gemini, calls, text

INTERRUPTED = "⟦system: The caller interrupted you and heard only the words above.⟧"


def echo(body: dict[str, Any]) -> Answer:
    return text(f"You said {question(body)}, did you not?", delay=0.02)


async def test_the_newest_wins(gemini: Gemini, start: Any) -> None:
    """The older one's stream ends, its words and what was said to them are remembered."""
    gemini.answer = echo
    caller = (await start()).caller("c1")
    old = asyncio.create_task(caller.say("one", turn="t1"))
    await asyncio.sleep(0.15)
    new = await caller.say("two", turn="t2")
    assert new.text == "You said two, did you not?"
    assert (await old).ended_once
    assert new.ended_once
    body = requests_for(gemini, "two")[0].body
    assert answers_in(body) in ([(await old).text], [])
    assert caller_said(body).startswith("one\n")


async def test_two_at_the_same_instant_are_two_turns_in_order(gemini: Gemini, start: Any) -> None:
    gemini.answer = echo
    caller = (await start()).caller("c1")
    for n in range(5):
        first = asyncio.create_task(caller.say(f"first {n}", turn=f"a{n}"))
        await asyncio.sleep(0)
        second = asyncio.create_task(caller.say(f"second {n}", turn=f"b{n}"))
        replies = await asyncio.gather(first, second)
        assert all(reply.ended_once for reply in replies)
        assert any(
            reply.text == f"You said {word} {n}, did you not?"
            for reply, word in zip(replies, ("first", "second"), strict=True)
        )
    await caller.say("last")
    said = caller_said(requests_for(gemini, "last")[0].body).split("\n")
    for n in range(5):
        assert said.count(f"first {n}") == said.count(f"second {n}") == 1


async def test_five_in_a_row_leave_five_messages_and_one_answer(gemini: Gemini, start: Any) -> None:
    """Sent 10 ms apart; the last one is answered in full."""
    gemini.answer = echo
    caller = (await start()).caller("c1")
    turns = []
    for n in range(5):
        turns.append(asyncio.create_task(caller.say(f"number {n}")))
        await asyncio.sleep(0.01)
    replies = await asyncio.gather(*turns)
    assert all(reply.ended_once for reply in replies)
    assert replies[-1].text == "You said number 4, did you not?"
    await caller.say("last")
    said = caller_said(requests_for(gemini, "last")[0].body).split("\n")
    assert [line for line in said if line.startswith("number")] == [f"number {n}" for n in range(5)]


async def test_the_newest_does_not_wait_for_the_older_ones_tool(gemini: Gemini, start: Any, deeds: Tools) -> None:
    """Both lines stay open: the older stream ends at once, its action runs on."""
    gemini.script(calls(("order", {"thing": "soup", "seconds": 0.6})), text("Yes?"))
    caller = (await start(tools_dir=deeds.folder)).caller("c1")
    old = asyncio.create_task(caller.say("Soup"))
    await deeds.until("c1", "order began")
    new = await caller.say("Hello?")
    assert new.text == "Yes?"
    assert not deeds.done("c1")["order done"]
    assert (await old).ended_once
    assert results_in(gemini.requests[1].body)[0][0] == "order"


async def test_data_beside_a_running_message_is_neither_lost_nor_an_interruption(
    gemini: Gemini, start: Any, deeds: Tools
) -> None:
    """Ten pieces of it, during the model's words and a tool."""
    gemini.script(calls(("order", {"thing": "soup", "seconds": 0.1})), text("a b c d e f", delay=0.02), text("All."))
    backend: Backend = await start(tools_dir=deeds.folder)
    caller = backend.caller("c1")
    talk = asyncio.create_task(caller.say("Soup", turn="t1"))
    for n in range(10):
        body = {"type": "data", "conversation_id": "c1", "turn_id": "t1", "data": {"click": n}}
        answer = await backend.http.post(f"{backend.url}/api/agent", **signed(body))
        assert (answer.status_code, answer.json()) == (200, {})
        await asyncio.sleep(0.02)
    assert (await talk).text == "a b c d e f"
    await caller.say("What did I click?", turn="t2")
    said = caller_said(gemini.requests[2].body)
    assert [said.count(f'{{"click":{n}}}') for n in range(10)] == [1] * 10


# interruption_context


async def three_turns(caller: Caller) -> None:
    for n in (1, 2, 3):
        reply = await caller.say(f"number {n}", turn=f"t{n}")
        assert reply.text == f"You said number {n}, did you not?"


@pytest.mark.parametrize(
    ("named", "remembered"),
    [
        ("t3", ["You said number 1, did you not?", "You said number 2, did you not?", "You said"]),
        ("t2", ["You said number 1, did you not?", "You said", "You said number 3, did you not?"]),
        ("t0", [f"You said number {n}, did you not?" for n in (1, 2, 3)]),
    ],
    ids=["last", "before_last", "unknown"],
)
async def test_the_turn_that_is_named_is_cut_though_its_stream_ended_long_ago(
    gemini: Gemini, start: Any, named: str, remembered: list[str]
) -> None:
    """An unknown one is ignored."""
    gemini.answer = echo
    caller = (await start()).caller("c1")
    await three_turns(caller)
    assert (await caller.say("and now", turn="t4", heard=(named, "you, SAID..."))).status == 200
    body = requests_for(gemini, "and now")[0].body
    assert answers_in(body) == remembered
    assert (INTERRUPTED in caller_said(body)) is (named == "t3")


async def test_cut_once_it_stays_cut(gemini: Gemini, start: Any) -> None:
    """A later context, about another turn, does not bring words back."""
    gemini.answer = echo
    caller = (await start()).caller("c1")
    await caller.say("one", turn="t1")
    await caller.say("two", turn="t2", heard=("t1", "You said"))
    await caller.say("three", turn="t3", heard=("t2", "You said two"))
    await caller.say("four", turn="t4")
    body = requests_for(gemini, "four")[0].body
    assert answers_in(body) == ["You said", "You said two,", "You said three, did you not?"]
    assert caller_said(body).count(INTERRUPTED) == 2


async def test_nothing_heard_is_nothing_said(gemini: Gemini, start: Any) -> None:
    gemini.answer = echo
    caller = (await start()).caller("c1")
    await caller.say("one", turn="t1")
    await caller.say("two", turn="t2", heard=("t1", ""))
    body = requests_for(gemini, "two")[0].body
    assert answers_in(body) == []
    assert caller_said(body) == f"one\n{NEVER_ASKED}⟧\ntwo"


async def test_the_welcome_can_be_interrupted(gemini: Gemini, start: Any) -> None:
    """Afterwards by a context, and by hanging up before it was sent."""
    gemini.answer = echo
    backend: Backend = await start(welcome_message="Welcome to Chez Voice, what can I do for you?")
    heard = backend.caller("c1")
    await heard.say(None, type="session.start", turn="w1")
    await heard.say("one", turn="t1", heard=("w1", "welcome to chez"))
    assert answers_in(requests_for(gemini, "one")[0].body) == ["Welcome to Chez"]

    unheard = backend.caller("c2")
    await unheard.say(None, type="session.start", turn="w1")
    await unheard.say("two", turn="t1", heard=("w1", ""))
    assert answers_in(requests_for(gemini, "two")[0].body) == []


async def test_a_context_about_progress_lines_cuts_no_answer(gemini: Gemini, start: Any, deeds: Tools) -> None:
    """Progress is part of what was heard, and not of what the model said."""
    gemini.script(calls(("fetch", {"city": "Rome"})), text("It is sunny in Rome."), text("Yes."))
    caller = (await start(tools_dir=deeds.folder)).caller("c1")
    assert (await caller.say("Rome?", turn="t1")).text == "Checking Rome. It is sunny in Rome."
    await caller.say("two", turn="t2", heard=("t1", "checking Rome it is"))
    assert answers_in(gemini.requests[2].body) == ["It is"]
    assert "They may not know the whole result of: fetch." in caller_said(gemini.requests[2].body)


async def test_a_result_that_was_fetched_but_not_told_is_kept_as_unheard(
    gemini: Gemini, start: Any, deeds: Tools
) -> None:
    gemini.script(calls(("fetch", {"city": "Rome"})), text("It is sunny in Rome."), text("Yes."))
    caller = (await start(tools_dir=deeds.folder)).caller("c1")
    await caller.say("Rome?", turn="t1")
    await caller.say("Well?", turn="t2", heard=("t1", "Checking"))
    body = gemini.requests[2].body
    assert results_in(body) == [("fetch", "Sunny in Rome.")]
    assert "They do not know the result of: fetch." in caller_said(body)
