"""Whose number it is: what tools keep for a caller is nobody else's, and is found again when it shall be forgotten."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api.cli.main import app
from tests.support.conversation import question, quiet, steps_taken
from tests.support.gemini import Answer, Gemini, calls, text

NOTES = '''
from agent import tool_context, voice_tool

@voice_tool
async def owner() -> str:
    """Whose bookings are seen here."""
    return str(tool_context().caller)

async def forget(database, conversations, caller):
    print("asked to forget", conversations, caller)
    return 0
'''
WITHHELD = [
    "anonymous", "Restricted", "unknown", "+266696687", "+7378742833", "+2562533", "+8656696", "+86282452253",
    "+464", "0", "+00000000000", "sip:alice@pbx.example", "sip:+4930123456@evil.example", "+1-800-FLOWERS",
    "\uff0b4930123456", "+4930123456;phone-context=x", "", "4930123456", "+49 30 123456 x7",
]  # fmt: skip


def model(body: dict[str, Any]) -> Answer:
    return text("Noted.") if steps_taken(body) or question(body) != "who" else calls(("owner", {}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "notes.py").write_text(NOTES)
    return tmp_path / "made"


@pytest.fixture
async def server(gemini: Gemini, start: Any, folder: Path) -> Any:
    gemini.answer = model
    return await start(tools_dir=folder)


async def seen_by_tools(server: Any, gemini: Gemini, number: str) -> str:
    await server.caller().say("who", from_phone_number=number)
    parts = [part for content in gemini.requests[-1].body["contents"] for part in content["parts"]]
    return str(next(p["functionResponse"]["response"] for p in reversed(parts) if "functionResponse" in p))


async def test_only_a_real_number_is_a_callers(server: Any, gemini: Gemini) -> None:
    """A withheld number is shared by all who withhold theirs, and anybody can call from a made-up one."""
    for number in WITHHELD:
        assert "None" in await seen_by_tools(server, gemini, number), number


@pytest.mark.parametrize("written", ["+4930123456", "+49 30 123456", "+49 (0)30 123-456", "+49-30-12.34.56"])
async def test_a_number_is_one_however_it_is_written(server: Any, gemini: Gemini, written: str) -> None:
    assert "'+4930123456'" in await seen_by_tools(server, gemini, written)


@pytest.mark.parametrize(
    ("called_from", "named", "told"),
    [
        ("sip:alice@pbx-1.example", "sip:alice@pbx-1.example", "sip:alice@pbx-1.example"),
        ("+49 30 123456", "+4930123456", "+4930123456"),
        ("+4930123456", "+49 (30) 12 34 56", "+4930123456"),
        ("+4930123456", "0049 30 123456", "+4930123456"),
        ("anonymous", "anonymous", "anonymous"),
        ("100%_'\"x", "100%_'\"x", "100%_'\"x"),
    ],
)
async def test_whoever_called_is_found_to_be_forgotten(
    server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path, called_from: str, named: str, told: str
) -> None:
    """By what the platform sent, or by the number however it is written."""
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/voice.db")
    monkeypatch.setenv("TOOLS_DIR", str(folder))
    await server.caller("theirs").say("Hello", from_phone_number=called_from)
    await server.caller("other").say("Hello", from_phone_number="+12025550123")
    await quiet(server)
    done = await asyncio.to_thread(CliRunner().invoke, app, ["forget", named, "--yes"])
    assert done.exit_code == 0, done.output
    assert f"asked to forget ['theirs'] {told}" in done.output
