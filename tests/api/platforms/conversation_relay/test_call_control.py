"""What a tool does to the call is dropped when the caller speaks up first; keys are exact words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.platforms.conversation_relay import socket
from tests.support.backend import Backend, backend
from tests.support.gemini import Gemini, calls, text
from tests.support.phone import phone
from tests.support.platforms import platform_settings, shown
from tests.support.recordings import write_tools

END = calls(("end_call", {}), text="Goodbye, and thank you.")
TRANSFER = calls(("transfer_to_person", {"name": "reception"}), text="I put you through.")


SLOW_END = '''
import asyncio
from agent import hang_up, voice_tool

@voice_tool(needs="hang_up")
async def leave() -> str:
    """End the call."""
    await asyncio.sleep(0.2)
    hang_up()
    return "The call ends."

@voice_tool(on_barge_in="cancel")
async def look() -> str:
    """Look."""
    return "Nothing."
'''


@pytest.fixture
async def server(gemini: Gemini, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Backend]:
    monkeypatch.setenv("TRANSFER_TO", '{"reception": "+493099999"}')
    async with backend(**platform_settings(gemini, tmp_path)) as server:
        yield server


@pytest.mark.parametrize("script", [END, TRANSFER], ids=["hang up", "transfer"])
@pytest.mark.parametrize("how", ["interrupt", "interrupt without a prompt", "prompt alone"])
async def test_the_call_goes_on_when_the_caller_interrupts_the_goodbye(
    server: Backend, gemini: Gemini, script: object, how: str
) -> None:
    gemini.script(script, text("Of course."))  # type: ignore[arg-type]
    async with phone(server.url) as caller:
        await caller.answer()
        await caller.say("Bye")
        said = await caller.answer()
        if how != "prompt alone":
            await caller.interrupt(said.split()[0])
        if how == "interrupt without a prompt":
            await asyncio.sleep(2)  # the goodbye would have been played
        await caller.say("Wait, one more thing")
        assert await caller.answer() == "Of course."
        with pytest.raises(TimeoutError):
            await caller.frame(patience=2.0)
    assert all(frame["type"] == "text" for _, frame in caller.frames)


async def test_a_transfer_that_nobody_interrupts_takes_place_after_its_words(server: Backend, gemini: Gemini) -> None:
    gemini.script(TRANSFER)
    async with phone(server.url) as caller:
        await caller.answer()
        await caller.say("A person")
        await caller.answer()
        said = caller.frames[-1][0]
        frame = await caller.frame()
        assert frame["type"] == "end"
        assert caller.frames[-1][0] - said > 0.8


async def test_a_goodbye_is_the_last_word_also_where_another_tool_was_faster(gemini: Gemini, tmp_path: Path) -> None:
    tools = write_tools(tmp_path / "tools", SLOW_END)
    gemini.script(calls(("look", {}), ("leave", {}), text="Goodbye."))
    async with backend(**platform_settings(gemini, tmp_path, tools_dir=tools)) as server, phone(server.url) as caller:
        await caller.answer()
        await caller.say("Bye")
        assert await caller.answer() == "Goodbye."
        assert (await caller.frame())["type"] == "end"
    assert len(gemini.requests) == 1


@pytest.mark.parametrize(("keys", "words"), [("0*12", "pressed 0 * 1 2"), ("12#", "pressed 1 2 #")])
async def test_keys_are_complete_at_a_hash_or_after_a_pause(
    server: Backend, gemini: Gemini, monkeypatch: pytest.MonkeyPatch, keys: str, words: str
) -> None:
    """As exact text: nothing is left out, and leading zeros stay."""
    monkeypatch.setattr(socket, "_DIGITS_SECONDS", 0.3)
    gemini.script(text("Thank you."))
    async with phone(server.url) as caller:
        await caller.answer()
        for key in keys:
            await caller.press(key)
            await asyncio.sleep(0.05)
        assert await caller.answer() == "Thank you."
    assert shown(gemini.requests[-1].body)[-1][1].endswith(words)
