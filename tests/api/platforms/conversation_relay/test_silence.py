"""A caller who says nothing, and what the platform's speaker events say of who speaks and what was heard."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent.calls import CallTimes, reports
from api import wiring
from tests.support.backend import Backend, backend
from tests.support.conversation import Tools
from tests.support.ended_calls import EndedCalls, lines
from tests.support.gemini import Gemini, calls, text
from tests.support.phone import Phone, phone
from tests.support.platforms import platform_settings, shown

IDLE = {"idle_seconds": 0.5, "idle_message": "Hello?", "idle_goodbye_message": "Bye."}
WEATHER = "It is fourteen degrees in Paris. Tomorrow it gets up to seventeen degrees, with some rain."


@pytest.fixture
def ended(deeds: Tools, monkeypatch: pytest.MonkeyPatch) -> EndedCalls:
    monkeypatch.setattr(reports, "_LOOK", 0.05)
    monkeypatch.setattr(wiring, "CallTimes", partial(CallTimes, reconnect=0.3))
    (deeds.folder / "call.py").write_text((Path(__file__).parents[4] / "tools" / "call.py").read_text())
    return EndedCalls(deeds.folder)


@asynccontextmanager
async def serving(gemini: Gemini, folder: Path, deeds: Tools, **more: Any) -> AsyncIterator[Backend]:
    settings = platform_settings(gemini, folder, tools_dir=deeds.folder, welcome_message="", **more)
    async with backend(**settings) as server:
        yield server


@pytest.fixture
async def server(gemini: Gemini, tmp_path: Path, deeds: Tools, ended: EndedCalls) -> AsyncIterator[Backend]:
    async with serving(gemini, tmp_path, deeds, **IDLE) as server:
        yield server


async def nothing_comes(caller: Phone, seconds: float) -> None:
    with pytest.raises(TimeoutError):
        await caller.frame(patience=seconds)


async def test_noise_is_silence(server: Backend, gemini: Gemini) -> None:
    """Prompts without words do not keep a call open for ever."""

    async def crackles(caller: Phone) -> None:
        while True:
            await caller.say("")
            await asyncio.sleep(0.1)

    async with phone(server.url) as caller:
        assert await caller.answer() == ""
        noise = asyncio.create_task(crackles(caller))
        assert await caller.answer() == "Hello?"
        noise.cancel()
    assert not gemini.requests


async def test_a_silent_caller_hears_a_line_without_notation(gemini: Gemini, tmp_path: Path, deeds: Tools) -> None:
    async with (
        serving(gemini, tmp_path, deeds, idle_seconds=0.3, idle_message="Are **you** still `there`?") as server,
        phone(server.url) as caller,
    ):
        assert await caller.answer() == ""
        assert await caller.answer() == "Are you still there?"


async def test_a_silent_caller_is_asked_twice_then_the_call_ends(
    server: Backend, gemini: Gemini, ended: EndedCalls
) -> None:
    """In the memory and the transcript what was said to them stands, and how the call ended."""
    gemini.script(text("Yes."))
    async with phone(server.url) as caller:
        assert await caller.answer() == ""
        assert await caller.answer() == "Hello?"
        await caller.say("Here")
        assert await caller.answer() == "Yes."
        assert [await caller.answer() for _ in range(3)] == ["Hello?", "Hello?", "Bye."]
        assert await caller.frame() == {"type": "end"}
        await nothing_comes(caller, 1.2)
    (request,) = gemini.requests
    assert shown(request.body) == [
        ("user", "⟦system: The call begins.⟧\n⟦system: The caller says nothing.⟧"),
        ("model", "Hello?"),
        ("user", "Here"),
    ]
    (call,) = await ended.until(1, seconds=20)
    assert call["how"] == "timed out"
    assert [line[:2] for line in lines(call)][-3:] == [("agent", "Hello?"), ("agent", "Hello?"), ("agent", "Bye.")]


async def test_nobody_is_asked_while_an_answer_is_played_a_tool_runs_or_somebody_speaks(
    server: Backend, gemini: Gemini, deeds: Tools
) -> None:
    gemini.script(calls(("order", {"thing": "soup", "seconds": 1.2})), text("Yes."))
    async with phone(server.url, "CA1") as caller:
        assert await caller.answer() == ""
        await caller.say("Soup")
        await deeds.until("CA1", "order began")
        assert await caller.answer() == "Yes."
        await caller.send(type="info", name="clientSpeaking", value="on")
        await nothing_comes(caller, 1.2)
        await caller.send(type="info", name="clientSpeaking", value="off")
        await caller.send(type="info", name="agentSpeaking", value="on")
        await nothing_comes(caller, 1.2)
        await caller.send(type="info", name="agentSpeaking", value="off")
        assert await caller.answer() == "Hello?"


async def test_what_a_cough_has_cut_is_taken_up_when_nothing_is_said(server: Backend, gemini: Gemini) -> None:
    gemini.script(text(WEATHER), text("Tomorrow it gets up to seventeen."))
    async with phone(server.url) as caller:
        assert await caller.answer() == ""
        await caller.say("The weather?")
        await caller.answer()
        await caller.interrupt("It is fourteen degrees")
        assert await caller.answer() == "Tomorrow it gets up to seventeen."


async def test_without_the_setting_nothing_is_said(
    gemini: Gemini, tmp_path: Path, deeds: Tools, ended: EndedCalls
) -> None:
    async with serving(gemini, tmp_path, deeds) as server, phone(server.url) as caller:
        assert await caller.answer() == ""
        await nothing_comes(caller, 1.5)


@pytest.mark.parametrize("cumulative", [True, False])
async def test_the_words_that_were_played_are_what_was_heard(
    gemini: Gemini, tmp_path: Path, deeds: Tools, ended: EndedCalls, cumulative: bool
) -> None:
    """Of an interruption that does not say it, and of a hang-up."""
    gemini.script(text(WEATHER), text(WEATHER))
    async with serving(gemini, tmp_path, deeds) as server:
        async with phone(server.url) as caller:
            assert await caller.answer() == ""
            await caller.say("The weather?")
            await caller.answer()
            await played(caller, ["It is ", "fourteen degrees "], cumulative)
            await caller.interrupt()
            await caller.say("Again")
            await caller.answer()
            await played(caller, ["It is fourteen ", "degrees in Paris. ", "Tomorrow "], cumulative)
            await asyncio.sleep(0.1)
        (call,) = await ended.until(1, seconds=20)
    assert ("model", "It is fourteen degrees") in shown(gemini.requests[-1].body)
    assert lines(call)[1] == ("agent", "It is fourteen degrees", True)
    assert lines(call)[3] == ("agent", "It is fourteen degrees in Paris. Tomorrow", True)


async def played(caller: Phone, pieces: list[str], cumulative: bool) -> None:
    for number, piece in enumerate(pieces):
        value = "".join(pieces[: number + 1]) if cumulative else piece
        await caller.send(type="info", name="tokensPlayed", value=value)


async def test_a_goodbye_is_ended_when_its_words_were_played(
    gemini: Gemini, tmp_path: Path, deeds: Tools, ended: EndedCalls
) -> None:
    """Not when the speaker falls silent before them, and not later than the last word."""
    gemini.script(calls(("end_call", {}), text="Goodbye, and thank you very much for calling us today."))
    async with serving(gemini, tmp_path, deeds) as server, phone(server.url) as caller:
        assert await caller.answer() == ""
        await played(caller, ["Hello"], False)
        await caller.say("Bye")
        goodbye = await caller.answer()
        await caller.send(type="info", name="agentSpeaking", value="off")
        await nothing_comes(caller, 0.5)
        await caller.send(type="info", name="agentSpeaking", value="on")
        await played(caller, [goodbye], False)
        await caller.send(type="info", name="agentSpeaking", value="off")
        began = time.monotonic()
        assert await caller.frame() == {"type": "end"}
        assert time.monotonic() - began < 1.0
