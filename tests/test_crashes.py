"""Crashes: the process is killed in the middle of a turn and started again on the same database."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent.history import NOT_STARTED, STILL_RUNNING, UNKNOWN
from tests.backend import Backend, served
from tests.conversation import Tools, answers_in, caller_said, offered, question, results_in
from tests.gemini import Answer, Gemini, calls, text


@pytest.fixture
def env(gemini: Gemini, deeds: Tools, tmp_path: Path) -> dict[str, str]:
    return {
        "GOOGLE_API_KEY": "test-key",
        "GOOGLE_GEMINI_BASE_URL": gemini.url,
        "DATABASE_URL": f"sqlite:///{tmp_path}/voice.db",
        "TOOLS_DIR": str(deeds.folder),
    }


def kill(backend: Backend) -> None:
    assert backend.process
    backend.process.kill()
    backend.process.wait()


async def crash_during(env: dict[str, str], deeds: Tools, deed: str, *words: str, interrupted: bool = False) -> None:
    """Say `words`, and kill the process once the last one's tool has begun."""
    async with served(**env) as backend:
        caller = backend.caller("c1")
        for position, before in enumerate(words[:-1]):
            assert (await caller.say(before, turn=f"before{position}")).ended_once
        turn = asyncio.create_task(caller.say(words[-1], turn="t1"))
        await deeds.until("c1", deed)
        if interrupted:
            turn.cancel()
            await asyncio.wait([turn])
            await asyncio.sleep(0.3)
        kill(backend)
        await asyncio.wait([turn])


async def test_a_tool_that_was_killed_is_unknown_and_not_run_again(
    gemini: Gemini, deeds: Tools, env: dict[str, str]
) -> None:
    """The caller's words are there, the call is answered, its sibling is told not to have been started or done."""
    gemini.script(
        calls(("fetch", {"city": "Rome"}), ("order", {"thing": "soup", "seconds": 30})),
        text("I do not know."),
        text("No."),
    )
    await crash_during(env, deeds, "order began", "Soup, and the weather")
    async with served(**env) as backend:
        caller = backend.caller("c1")
        assert (await caller.say("Is it coming?", turn="t2")).text == "I do not know."
        await caller.say("Really?", turn="t3")

    for request in gemini.requests[1:]:
        assert caller_said(request.body).count("Soup, and the weather") == 1
        (fetch, told), order = results_in(request.body)
        assert fetch == "fetch"
        assert told in ("Sunny in Rome.", UNKNOWN, NOT_STARTED)
        assert order == ("order", UNKNOWN)
    assert deeds.done("c1")["order began"] == 1
    assert deeds.done("c1")["fetch began"] <= 1


async def test_the_webhook_that_crashed_is_answered_when_it_comes_again(
    gemini: Gemini, deeds: Tools, env: dict[str, str]
) -> None:
    """Once: ten of it are one turn, and the tool is not run again. Later it comes from the journal."""
    gemini.script(calls(("order", {"thing": "soup", "seconds": 30})), text("I do not know whether it happened."))
    await crash_during(env, deeds, "order began", "Soup")
    async with served(**env) as backend:
        caller = backend.caller("c1")
        replies = await asyncio.gather(*(caller.say("Soup", turn="t1") for _ in range(10)))
        replies.append(await caller.say("Soup", turn="t1"))
    assert {reply.text for reply in replies} == {"I do not know whether it happened."}
    assert len({reply.raw for reply in replies}) == 1
    assert results_in(gemini.requests[1].body) == [("order", UNKNOWN)]
    assert caller_said(gemini.requests[1].body) == "Soup"
    assert deeds.done("c1") == {"order began": 1}


async def test_the_webhook_that_crashed_does_not_interrupt_a_newer_one(
    gemini: Gemini, deeds: Tools, env: dict[str, str]
) -> None:
    """The conversation has gone on: its duplicate gets an end, and nothing else."""
    gemini.script(
        calls(("order", {"thing": "soup", "seconds": 30})),
        text("one two three four five six", delay=0.05),
        text("Yes."),
    )
    await crash_during(env, deeds, "order began", "Soup")
    async with served(**env) as backend:
        caller = backend.caller("c1")
        newer = asyncio.create_task(caller.say("Hello?", turn="t2"))
        while len(gemini.requests) < 2:
            await asyncio.sleep(0.01)
        assert (await caller.say("Soup", turn="t1")).types == ["response.end"]
        assert not newer.done()
        assert (await newer).text == "one two three four five six"
        assert (await caller.say("Soup", turn="t1")).types == ["response.end"]
        await caller.say("Still there?", turn="t3")
    assert answers_in(gemini.requests[2].body)[-1] == "one two three four five six"
    assert deeds.done("c1") == {"order began": 1}


async def test_a_tool_that_ran_on_after_its_turn_and_was_killed_is_unknown(
    gemini: Gemini, deeds: Tools, env: dict[str, str]
) -> None:
    """Its turn had ended in good order with "still running": that is not true any more."""
    gemini.script(calls(("order", {"thing": "soup", "seconds": 30})), text("I do not know."), text("No."))
    await crash_during(env, deeds, "order began", "Soup", interrupted=True)
    async with served(**env) as backend:
        caller = backend.caller("c1")
        await caller.say("Is it coming?", turn="t2")
        await caller.say("Really?", turn="t3")
    for request in gemini.requests[1:]:
        assert results_in(request.body) == [("order", UNKNOWN)]
        assert STILL_RUNNING not in str(request.body)
        assert "Finished meanwhile" not in caller_said(request.body)
        assert caller_said(request.body).count("[The system was restarted while this ran: order.") == 1


async def test_what_was_reported_as_heard_to_the_turn_that_crashed_is_not_forgotten(
    gemini: Gemini, deeds: Tools, env: dict[str, str]
) -> None:
    gemini.script(text("One two three four."), calls(("order", {"thing": "soup", "seconds": 30})), text("Yes."))
    async with served(**env) as backend:
        caller = backend.caller("c1")
        await caller.say("Count", turn="t1")
        turn = asyncio.create_task(caller.say("Stop, and order soup", turn="t2", heard=("t1", "one two")))
        await deeds.until("c1", "order began")
        kill(backend)
        await asyncio.wait([turn])
    async with served(**env) as backend:
        await backend.caller("c1").say("And?", turn="t3")
    assert answers_in(gemini.requests[2].body)[0] == "One two"


async def test_a_confirmed_action_that_was_killed_cannot_be_confirmed_again(
    gemini: Gemini, deeds: Tools, env: dict[str, str]
) -> None:
    """The checkpoint still has the question; the journal knows that the answer was acted on."""

    def model(body: dict[str, Any]) -> Answer:
        if results_in(body) and question(body).startswith("Yes") and "functionResponse" in str(body["contents"][-1]):
            return text("It is unknown whether that happened.")
        if "confirm" in offered(body):
            return calls(("confirm", {"yes": True}))
        return calls(("book", {"people": 4, "time": "7 pm", "seconds": 30}))

    gemini.answer = model
    await crash_during(env, deeds, "book began", "A table", "Yes")
    async with served(**env) as backend:
        reply = await backend.caller("c1").say("Yes!", turn="t2")
        assert reply.ended_once
    assert deeds.done("c1") == {"book began": 1}
