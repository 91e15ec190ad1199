"""The same webhook twice: one effect, and the same answer. The key is (conversation, turn, type)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.backend import Backend, Reply
from tests.support.conversation import Tools, answers_in, caller_said, quiet
from tests.support.gemini import Gemini, calls, text


def same(replies: list[Reply]) -> bool:
    return len({reply.raw for reply in replies}) == 1 and all(reply.ended_once for reply in replies)


async def test_a_duplicate_gets_the_same_bytes_and_nothing_runs_again(gemini: Gemini, start: Any, deeds: Tools) -> None:
    """After the end of the turn: speech, data, order and all."""
    gemini.script(calls(("order", {"thing": "soup"}), ("pay", {})), text("It is coming."), text("Yes."))
    caller = (await start(tools_dir=deeds.folder)).caller("c1")
    first = await caller.say("Soup", turn="t1")
    again = [await caller.say("Soup", turn="t1") for _ in range(3)]
    assert same([first, *again])
    assert len(gemini.requests) == 2
    assert deeds.done("c1") == {"order began": 1, "order done": 1, "pay began": 1, "pay done": 1}
    await caller.say("Sure?", turn="t2")
    assert caller_said(gemini.requests[2].body) == "Soup\nSure?"


async def test_a_duplicate_of_a_running_turn_joins_it(gemini: Gemini, start: Any, deeds: Tools) -> None:
    gemini.script(calls(("order", {"thing": "soup", "seconds": 0.2})), text("It is on its way.", delay=0.03))
    caller = (await start(tools_dir=deeds.folder)).caller("c1")
    first = asyncio.create_task(caller.say("Soup", turn="t1"))
    await deeds.until("c1", "order began")
    second = asyncio.create_task(caller.say("Soup", turn="t1"))
    await deeds.until("c1", "order done")
    await asyncio.sleep(0.05)
    third = await caller.say("Soup", turn="t1")
    assert same([await first, await second, third])
    assert (await first).text == "It is on its way."
    assert len(gemini.requests) == 2
    assert deeds.done("c1") == {"order began": 1, "order done": 1}


@pytest.mark.parametrize("running", [False, True])
async def test_ten_at_the_same_instant_give_one_run_and_ten_equal_answers(
    gemini: Gemini, start: Any, deeds: Tools, running: bool
) -> None:
    gemini.script(calls(("order", {"thing": "soup"})), text("It is on its way.", delay=0.02))
    caller = (await start(tools_dir=deeds.folder)).caller("c1")
    if not running:
        await caller.say("Soup", turn="t1")
    replies = await asyncio.gather(*(caller.say("Soup", turn="t1") for _ in range(10)))
    assert same(replies)
    assert replies[0].text == "It is on its way."
    assert len(gemini.requests) == 2
    assert deeds.done("c1") == {"order began": 1, "order done": 1}


@pytest.mark.parametrize("pause", [0.0, 0.2])
async def test_a_duplicate_after_the_first_reader_hung_up_gets_what_was_sent(
    gemini: Gemini, start: Any, pause: float
) -> None:
    """At once, while the interrupted turn still ends, and later."""
    gemini.script(text("one two three four five six seven", delay=0.02), text("Go on."))
    caller = (await start()).caller("c1")
    cut = await caller.say("Count", turn="t1", hang_up_after=3)
    await asyncio.sleep(pause)
    again = await caller.say("Count", turn="t1")
    assert again.ended_once
    assert again.raw.startswith(cut.raw)
    assert same([again, await caller.say("Count", turn="t1")])
    assert len(gemini.requests) == 1
    await caller.say("And?", turn="t2")
    assert answers_in(gemini.requests[1].body) == [again.text]


async def test_the_first_of_two_readers_may_leave(gemini: Gemini, start: Any) -> None:
    """A barge-in is when the last one leaves."""
    gemini.script(text("one two three four five six", delay=0.03))
    caller = (await start()).caller("c1")
    first = asyncio.create_task(caller.say("Count", turn="t1", hang_up_after=3))
    await asyncio.sleep(0.05)
    second = asyncio.create_task(caller.say("Count", turn="t1"))
    assert (await first).hung_up
    assert (await second).text == "one two three four five six"
    assert gemini.requests[0].finished


async def test_a_duplicate_that_leaves_does_not_interrupt_the_first_reader(gemini: Gemini, start: Any) -> None:
    gemini.script(text("one two three four five six", delay=0.03))
    caller = (await start()).caller("c1")
    first = asyncio.create_task(caller.say("Count", turn="t1"))
    await asyncio.sleep(0.05)
    assert (await caller.say("Count", turn="t1", hang_up_after=1)).hung_up
    assert (await first).text == "one two three four five six"


async def test_a_duplicate_after_a_restart_comes_from_the_journal(gemini: Gemini, start: Any, deeds: Tools) -> None:
    gemini.script(calls(("order", {"thing": "soup"})), text("Ordered, ☕ on top."))
    first: Backend = await start(tools_dir=deeds.folder)
    before = await first.caller("c1").say("Soup", turn="t1")
    second: Backend = await start(tools_dir=deeds.folder)
    after = await asyncio.gather(*(second.caller("c1").say("Soup", turn="t1") for _ in range(10)))
    assert same([before, *after])
    assert len(gemini.requests) == 2
    assert deeds.done("c1")["order began"] == 1


async def test_the_welcome_twice_is_one_welcome(gemini: Gemini, start: Any) -> None:
    gemini.script(text("Yes."))
    caller = (await start(welcome_message="Welcome!")).caller("c1")
    first = await caller.say(None, type="session.start", turn="w1")
    at_once = await asyncio.gather(*(caller.say(None, type="session.start", turn="w1") for _ in range(3)))
    assert same([first, *at_once])
    assert first.text == "Welcome!"
    await caller.say("Hello", turn="t1")
    assert answers_in(gemini.requests[0].body) == ["Welcome!"]


async def test_a_message_and_a_welcome_of_one_turn_id_are_two_requests(gemini: Gemini, start: Any) -> None:
    gemini.script(text("Hello."))
    caller = (await start(welcome_message="Welcome!")).caller("c1")
    assert (await caller.say(None, type="session.start", turn="t1")).text == "Welcome!"
    assert (await caller.say("Hi", turn="t1")).text == "Hello."


async def test_the_same_turn_id_in_two_conversations_is_two_turns(gemini: Gemini, start: Any) -> None:
    gemini.answer = lambda body: text(f"You said {caller_said(body)}.")
    backend: Backend = await start()
    for conversation in ("c1", "c2"):
        reply = await backend.caller(conversation).say(f"I am {conversation}", turn="t1")
        assert reply.text == f"You said I am {conversation}."


async def test_a_duplicate_of_an_old_turn_does_not_interrupt_the_one_now_running(gemini: Gemini, start: Any) -> None:
    gemini.script(text("Old."), text("one two three four five six", delay=0.03))
    caller = (await start()).caller("c1")
    old = await caller.say("First", turn="t1")
    running = asyncio.create_task(caller.say("Second", turn="t2"))
    await asyncio.sleep(0.05)
    assert same([old, await caller.say("First", turn="t1")])
    assert not running.done()
    assert (await running).text == "one two three four five six"
    assert len(gemini.requests) == 2


async def test_a_duplicate_of_the_turn_that_was_pushed_aside_does_not_push_back(gemini: Gemini, start: Any) -> None:
    """The old one was interrupted by the new one, and its duplicate comes while the new one speaks."""
    gemini.script(text("old old old old old", delay=0.03), text("new new new new new", delay=0.03))
    caller = (await start()).caller("c1")
    old = asyncio.create_task(caller.say("First", turn="t1"))
    await asyncio.sleep(0.1)
    new = asyncio.create_task(caller.say("Second", turn="t2"))
    assert (await old).ended_once
    again = await caller.say("First", turn="t1")
    assert again.raw == (await old).raw
    assert (await new).text == "new new new new new"
    assert len(gemini.requests) == 2


async def test_a_duplicate_of_a_call_to_the_same_tool_is_not_a_new_action(
    gemini: Gemini, start: Any, deeds: Tools
) -> None:
    """Hung up during the tool, sent again at once and after it is done: one deed."""
    gemini.script(calls(("order", {"thing": "soup", "seconds": 0.2})), text("A."))
    backend: Backend = await start(tools_dir=deeds.folder)
    caller = backend.caller("c1")
    turn = asyncio.create_task(caller.say("Soup", turn="t1"))
    await deeds.until("c1", "order began")
    turn.cancel()
    await asyncio.wait([turn])
    await asyncio.gather(*(caller.say("Soup", turn="t1") for _ in range(3)))
    await quiet(backend)
    assert same([await caller.say("Soup", turn="t1") for _ in range(2)])
    await caller.say("And?", turn="t2")
    assert deeds.done("c1") == {"order began": 1, "order done": 1}
    assert len(gemini.requests) == 2
