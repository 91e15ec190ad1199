"""Tools that outlive their turn: what the model knows of them, and when."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

import pytest

from agent.storage.results import STILL_RUNNING
from tests.support.backend import Backend, Caller
from tests.support.conversation import Tools, caller_said, each_action_once, quiet, results_in
from tests.support.gemini import Gemini, calls, text

LATE = "⟦system: Finished meanwhile: {}. The result stands above; the caller has not heard it.⟧"


async def interrupt_during(deeds: Tools, caller: Caller, deed: str, words: str = "Do it") -> None:
    """Begin a turn and hang up once a tool has begun."""
    turn = asyncio.create_task(caller.say(words))
    await deeds.until(caller.conversation, deed)
    await asyncio.sleep(0.02)
    turn.cancel()
    await asyncio.wait([turn])


async def test_a_late_result_takes_its_place_and_is_mentioned_once(gemini: Gemini, start: Any, deeds: Tools) -> None:
    """It finishes between the turns."""
    gemini.script(calls(("order", {"thing": "soup", "seconds": 0.15})), *[text(word) for word in ("A.", "B.", "C.")])
    backend: Backend = await start(tools_dir=deeds.folder)
    caller = backend.caller("c1")
    await interrupt_during(deeds, caller, "order began")
    await quiet(backend)

    for words in ("first", "second", "third"):
        await caller.say(words)

    for request in gemini.requests[1:]:
        assert results_in(request.body) == [("order", "Ordered soup.")]
        assert caller_said(request.body).count(LATE.format("order")) == 1
    assert caller_said(gemini.requests[1].body).endswith(f"{LATE.format('order')}\nfirst")
    each_action_once(deeds.done("c1"), gemini.requests[3].body)


async def test_a_result_whose_end_could_not_be_journalled_stays_known(
    gemini: Gemini, start: Any, deeds: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    gemini.script(calls(("order", {"thing": "soup"})), text("A."), text("B."), text("C."))
    backend: Backend = await start(tools_dir=deeds.folder)

    async def full(*_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    assert backend.agent
    with monkeypatch.context() as disk:
        disk.setattr(backend.agent._tool_runner._journal, "end_call", full)
        await backend.caller("c1").say("Soup")
    for words in ("first", "second"):
        await backend.caller("c1").say(words, turn=words)
    for request in gemini.requests[2:]:
        assert results_in(request.body) == [("order", "Ordered soup.")]
        assert "restarted" not in caller_said(request.body)


async def test_a_tool_that_runs_through_the_next_turn_is_told_after_it(
    gemini: Gemini, start: Any, deeds: Tools
) -> None:
    gemini.script(calls(("order", {"thing": "soup", "seconds": 0.6})), text("A."), text("B."), text("C."))
    backend: Backend = await start(tools_dir=deeds.folder)
    caller = backend.caller("c1")
    await interrupt_during(deeds, caller, "order began")
    assert (await caller.say("first")).text == "A."
    assert not deeds.done("c1")["order done"]
    await quiet(backend)
    await caller.say("second")
    await caller.say("third")

    first, second, third = (request.body for request in gemini.requests[1:])
    assert results_in(first) == [("order", STILL_RUNNING)]
    assert "Finished meanwhile" not in caller_said(first)
    assert results_in(second) == results_in(third) == [("order", "Ordered soup.")]
    assert caller_said(third).count(LATE.format("order")) == 1


async def test_a_tool_that_finishes_during_the_next_turn_is_told_after_it(
    gemini: Gemini, start: Any, deeds: Tools
) -> None:
    gemini.script(
        calls(("order", {"thing": "soup", "seconds": 0.2})), text("a b c d e f g h", delay=0.05), text("B."), text("C.")
    )
    backend: Backend = await start(tools_dir=deeds.folder)
    caller = backend.caller("c1")
    await interrupt_during(deeds, caller, "order began")
    assert (await caller.say("first")).ended_once
    assert deeds.done("c1")["order done"]
    await caller.say("second")
    await caller.say("third")
    assert results_in(gemini.requests[1].body) == [("order", STILL_RUNNING)]
    assert results_in(gemini.requests[2].body) == [("order", "Ordered soup.")]
    assert caller_said(gemini.requests[3].body).count(LATE.format("order")) == 1


async def test_a_late_result_is_not_lost_when_the_next_turn_is_interrupted_as_well(
    gemini: Gemini, start: Any, deeds: Tools
) -> None:
    gemini.script(calls(("order", {"thing": "soup", "seconds": 0.1})), text("a b c d e", delay=0.05), text("B."))
    backend: Backend = await start(tools_dir=deeds.folder)
    caller = backend.caller("c1")
    await interrupt_during(deeds, caller, "order began")
    await quiet(backend)
    await caller.say("first", hang_up_after=1)
    await caller.say("second")
    assert results_in(gemini.requests[2].body) == [("order", "Ordered soup.")]
    assert caller_said(gemini.requests[2].body).count(LATE.format("order")) == 1


async def test_many_late_results_of_one_turn_each_find_their_call(gemini: Gemini, start: Any, deeds: Tools) -> None:
    orders = [("order", {"thing": f"dish {n}", "seconds": 0.05 * (5 - n)}) for n in range(5)]
    gemini.script(calls(*orders), text("A."), text("B."))
    backend: Backend = await start(tools_dir=deeds.folder)
    caller = backend.caller("c1")
    turn = asyncio.create_task(caller.say("All of it"))
    async with asyncio.timeout(5):
        while deeds.done("c1")["order began"] < 5:
            await asyncio.sleep(0.005)
    turn.cancel()
    await asyncio.wait([turn])
    await caller.say("first")
    await quiet(backend)
    await caller.say("second")
    assert results_in(gemini.requests[2].body) == [("order", f"Ordered dish {n}.") for n in range(5)]
    assert deeds.done("c1") == {"order began": 5, "order done": 5}


async def test_a_cancelled_tool_stops_at_once_and_the_model_is_told_in_words(
    gemini: Gemini, start: Any, deeds: Tools
) -> None:
    gemini.script(calls(("fetch", {"city": "Rome", "seconds": 30})), text("A."), text("B."))
    caller = (await start(tools_dir=deeds.folder)).caller("c1")
    await interrupt_during(deeds, caller, "fetch began")
    await deeds.until("c1", "fetch cancelled", seconds=0.5)
    await caller.say("first")
    await caller.say("second")
    told = "fetch was stopped, as the caller interrupted. It has no result."
    for request in gemini.requests[1:]:
        assert results_in(request.body) == [("fetch", told)]
    assert "Finished meanwhile" not in caller_said(gemini.requests[2].body)


async def test_a_tool_that_swallows_its_cancellation_is_told_late(gemini: Gemini, start: Any, deeds: Tools) -> None:
    gemini.script(calls(("stubborn", {"seconds": 0.5})), text("A."), text("B."))
    backend: Backend = await start(tools_dir=deeds.folder)
    caller = backend.caller("c1")
    await interrupt_during(deeds, caller, "stubborn began")
    await caller.say("first")
    await quiet(backend)
    await caller.say("second")
    assert results_in(gemini.requests[1].body) == [("stubborn", STILL_RUNNING)]
    assert results_in(gemini.requests[2].body) == [("stubborn", "Stubbornly done.")]


async def test_what_a_protected_tool_says_after_a_barge_in_is_said_first_in_the_next_turn(
    gemini: Gemini, start: Any, deeds: Tools
) -> None:
    gemini.script(calls(("pay", {"seconds": 0.1})), text("What else?"), text("Yes."))
    backend: Backend = await start(tools_dir=deeds.folder)
    caller = backend.caller("c1")
    await interrupt_during(deeds, caller, "pay began")
    await quiet(backend)
    assert (await caller.say("first")).text == "It is paid. What else?"
    assert (await caller.say("second")).text == "Yes."


async def test_a_late_failure_is_told_as_one(gemini: Gemini, start: Any, deeds: Tools) -> None:
    gemini.script(calls(("broken", {"seconds": 0.1})), text("A."))
    backend: Backend = await start(tools_dir=deeds.folder)
    caller = backend.caller("c1")
    await interrupt_during(deeds, caller, "broken began")
    await quiet(backend)
    await caller.say("first")
    told = "broken failed for a technical reason. It is not certain whether it took effect."
    assert results_in(gemini.requests[1].body) == [("broken", told)]


async def test_a_call_interrupted_before_it_began_never_runs(gemini: Gemini, start: Any, deeds: Tools) -> None:
    """The caller hangs up while the model still says what it is about to do."""
    gemini.script(calls(("order", {"thing": "soup"}), text="I shall order soup now.", delay=0.05), text("A."))
    backend: Backend = await start(tools_dir=deeds.folder)
    caller = backend.caller("c1")
    await caller.say("Soup", hang_up_after=2)
    await caller.say("Wait")
    await quiet(backend)
    assert not deeds.done("c1")
    assert results_in(gemini.requests[1].body) == []


async def test_late_results_come_after_a_new_session_too(gemini: Gemini, start: Any, deeds: Tools) -> None:
    """The line was lost, the caller calls again: `session.start`, then words."""
    gemini.script(calls(("order", {"thing": "soup", "seconds": 0.1})), text("It was ordered."))
    backend: Backend = await start(tools_dir=deeds.folder, welcome_message="Welcome!")
    caller = backend.caller("c1")
    await interrupt_during(deeds, caller, "order began")
    await quiet(backend)
    assert (await caller.say(None, type="session.start", session_id="s2")).ended_once
    await caller.say("Did it work?", session_id="s2")
    assert results_in(gemini.requests[1].body) == [("order", "Ordered soup.")]
    assert caller_said(gemini.requests[1].body).count(LATE.format("order")) == 1
