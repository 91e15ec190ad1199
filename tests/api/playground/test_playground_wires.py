"""The playground's conversation over each platform's wire: held, interrupted, taken up again, and closed to others."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from api.platforms import CLIENTS
from tests.support.backend import Backend
from tests.support.playground import Client, authorized, connected, development, foreign

LONG = " ".join(f"And then came word number {n} of a long story." for n in range(20))
TOOLS = f'''
from agent import hang_up, voice_tool

@voice_tool
def story(title: str) -> str:
    """Read a story aloud."""
    return "{LONG}"

@voice_tool(needs="hang_up")
def goodbye() -> str:
    """Say goodbye."""
    hang_up()
    return "Goodbye."
'''
_ROUTES = (
    "api.platforms.conversation_relay.twi",
    "api.platforms.conversation_relay.telnyx",
    "api.platforms.speech_engine.socket",
    "api.platforms.speech_engine.token",
)
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


@pytest.mark.parametrize("wire", WIRES)
async def test_a_conversation_is_taken_up_again_on_its_wire(server: Backend, wire: str) -> None:
    """As after a reload of the page. What is said then is no repetition of what was said before."""
    async with connected(server.url, wire=wire, ready=False) as client:
        await client.send("client.ready")
        await client.until("response.end")
        await client.say("Alpha")
        assert "no tool" in await client.answer()
    async with connected(server.url, wire=wire, ready=False, conversation_id=client.conversation) as again:
        assert again.conversation == client.conversation
        await again.send("client.ready")
        await again.until("response.end")
        await again.say("Read me the story of Momo")
        while "word number 1" not in "".join(m["content"] for m in again.of("response.text")):
            await again.until("response.text")
        await again.send("trigger.turn.start")
        await again.until("playground.heard")
        await again.say("Beta")  # on Speech Engine only words interrupt
        await again.answer()
        said = [entry["caller"].splitlines()[-1] for entry in await memory(server, again) if "caller" in entry]
        assert said[-3:] == ["Alpha", "Read me the story of Momo", "Beta"]
    assert not again.of("playground.error")


@pytest.mark.parametrize("wire", WIRES)
async def test_a_call_that_is_not_known_here_gets_an_id_of_its_own(server: Backend, wire: str) -> None:
    made = await authorized(server.url, wire=wire, conversation_id="conv_of_yesterday")
    assert made["conversation_id"] != "conv_of_yesterday"
    again = await authorized(server.url, wire=wire, conversation_id=made["conversation_id"])
    assert again["conversation_id"] == made["conversation_id"]


async def test_the_page_is_told_that_the_agent_has_hung_up(server: Backend) -> None:
    async with connected(server.url, wire="relay") as client:
        await client.say("Goodbye")
        assert (await client.until("playground.control"))["action"] == "hang_up"
        assert (await client.until("playground.control"))["action"] == "closed"
        await client.say("Hello?")
        assert "The call is over." in (await client.until("playground.error"))["error"]


async def test_keys_are_pressed_on_a_phones_wire(server: Backend) -> None:
    """They interrupt as words do, and are the caller's words in the memory."""
    async with connected(server.url, wire="relay") as client:
        await client.say("Read me the story of Momo")
        while "number 1" not in "".join(m["content"] for m in client.of("response.text")):
            await client.until("response.text")
        await client.send("playground.keys", digits="12#")
        await client.until("playground.heard")
        assert "no tool" in await client.answer()
        assert [entry["caller"].splitlines()[-1] for entry in await memory(server, client) if "caller" in entry][
            -2:
        ] == [
            "Read me the story of Momo",
            "pressed 1 2 #",
        ]
        for digits in ("", "1a", "1" * 65):
            await client.send("playground.keys", digits=digits)
            assert "Keys are 0 to 9" in (await client.until("playground.error"))["error"]


@pytest.mark.parametrize("wire", [name for name in CLIENTS if name != "relay"])
async def test_on_another_wire_no_keys_are_pressed(server: Backend, wire: str) -> None:
    state = (await server.http.get(f"{server.url}/playground/state")).json()
    assert state["keys"] == ["relay"]
    async with connected(server.url, wire=wire) as client:
        await client.send("playground.keys", digits="1")
        assert (await client.until("playground.error"))["error"] == "On this wire no keys can be pressed."


async def test_the_routes_of_the_wires_are_not_on_the_servers_port(server: Backend) -> None:
    """Only what the settings switch on is there: the others' paths are answered as any unknown one is."""
    unknown = await server.http.post(f"{server.url}/nowhere", json={})
    for path in ("/twilio/voice", "/twilio/ended", "/v1/chat/completions", "/elevenlabs/token"):
        answer = await server.http.post(f"{server.url}{path}", json={})
        assert (answer.status_code, answer.text) == (unknown.status_code, unknown.text)


@pytest.mark.parametrize(("wire", "package"), [("relay", "twilio"), ("speech-engine", "elevenlabs")])
async def test_a_wire_whose_packages_are_missing_is_told_and_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wire: str, package: str
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == package or name.startswith(_ROUTES)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    async with development(database_url=f"sqlite:///{tmp_path}/dev.db") as server:
        state = (await server.http.get(f"{server.url}/playground/state")).json()
        refused = await server.http.post(f"{server.url}/playground/authorize", json={"wire": wire})
    assert list(state["missing_wires"]) == [wire]
    assert f"uv sync --extra {package}" in state["missing_wires"][wire]
    assert (refused.status_code, refused.json()["error"]) == (400, state["missing_wires"][wire])


async def test_another_backend_is_reached_by_webhooks_only(tmp_path: Path) -> None:
    async with foreign() as other, development(other.url, database_url=f"sqlite:///{tmp_path}/dev.db") as server:
        state = (await server.http.get(f"{server.url}/playground/state")).json()
        refused = await server.http.post(f"{server.url}/playground/authorize", json={"wire": "relay"})
    assert sorted(state["missing_wires"]) == sorted(WIRES)
    assert (refused.status_code, refused.json()["error"]) == (400, state["missing_wires"]["relay"])
