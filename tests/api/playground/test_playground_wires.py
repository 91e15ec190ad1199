"""The playground's conversation over each platform's wire: held, interrupted, taken up again, and closed to others."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from api.platforms import CLIENTS
from tests.support.backend import Backend
from tests.support.playground import Client, connected, development

LONG = " ".join(f"And then came word number {n} of a long story." for n in range(20))
TOOLS = f'''
from agent import hang_up as leave
from agent import voice_tool

@voice_tool
def story(title: str) -> str:
    """Read a story aloud."""
    return "{LONG}"
'''
WIRES = [name for name in CLIENTS if name != "layercode"]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Backend]:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "stories.py").write_text(TOOLS)
    async with development(database_url=f"sqlite:///{tmp_path}/dev.db", tools_dir=tools) as running:
        yield running


async def memory(server: Backend, client: Client) -> list[dict[str, Any]]:
    params = {"conversation_id": client.conversation}
    state = await server.http.get(f"{server.url}/playground/state", params=params)
    return list(state.json()["memory"])


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


@pytest.mark.parametrize("wire", CLIENTS)
async def test_a_conversation_is_held_and_an_interruption_cuts_the_memory(server: Backend, wire: str) -> None:
    async with connected(server.url, wire=wire, ready=False) as client:
        await client.send("client.ready")
        await client.until("response.end")
        await client.say("Read me the story of Momo")
        await client.until("response.text")
        while "number 3" not in "".join(m["content"] for m in client.of("response.text")):
            await client.until("response.text")
        await client.send("trigger.turn.start")
        heard = await client.until("playground.heard")
        assert 0 < heard["words"] < heard["of"]
        await client.send("trigger.turn.end")
        await client.say("What can you do?")
        assert "I found no tool for that" in await client.answer()
        cut = [entry["agent"] for entry in await memory(server, client) if entry.get("interrupted")]
        assert [words(text) for text in cut] == [words(heard["text"])]
    assert not client.of("playground.error")
