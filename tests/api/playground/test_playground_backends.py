"""The local stand-in with backends that fail, and with our own: what is explained, repeated, shown and saved."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.backend import Backend, free_port
from tests.support.playground import Foreign, connected, development, foreign


@pytest.fixture
async def backend() -> AsyncIterator[Foreign]:
    async with foreign() as made:
        yield made


@pytest.fixture
async def url(backend: Foreign, tmp_path: Path) -> AsyncIterator[str]:
    async with development(backend.url, database_url=f"sqlite:///{tmp_path}/dev.db") as server:
        yield server.url


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("status 401", "refused the signature"),
        ("status 404", "no webhook at that address"),
        ("status 500", "answered 500"),
        ("no end", "without response.end"),
        ("junk", "no JSON object"),
    ],
)
async def test_a_failing_backend_is_explained_and_the_turn_still_ends(url: str, text: str, sentence: str) -> None:
    async with connected(url) as client:
        await client.say(text)
        assert sentence in (await client.until("playground.error"))["error"]
        await client.until("response.end")
        await client.say("Again.")
        assert await client.answer() == "Again."


async def test_a_backend_that_is_not_there_is_explained(tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/hook"
    async with development(nowhere, database_url=f"sqlite:///{tmp_path}/dev.db") as server:
        async with connected(server.url, ready=False) as client:
            await client.send("client.ready")
            error = await client.until("playground.error")
            await client.until("response.end")
        state = (await server.http.get(f"{server.url}/playground/state")).json()
    assert error["error"].startswith(f"Nothing answers at {nowhere}.")
    assert (state["own"], state["webhook"], state["model"], state["memory"]) == (False, nowhere, None, [])


async def test_an_untrusted_certificate_is_explained(tmp_path: Path) -> None:
    """Or what is no https at all, as here."""
    async with foreign() as plain:
        secure = plain.url.replace("http://", "https://name:password@")
        async with development(secure, database_url=f"sqlite:///{tmp_path}/dev.db") as server:
            async with connected(server.url) as client:
                pass
            state = (await server.http.get(f"{server.url}/playground/state")).json()
    shown = plain.url.replace("http://", "https://")
    assert client.of("playground.error")[0]["error"].startswith(f"There is no TLS connection to {shown}: its cert")
    assert state["webhook"] == shown


async def test_numbers_that_json_does_not_have_do_not_reach_the_client(url: str) -> None:
    async with connected(url) as client:
        await client.say("huge")
        assert (await client.until("response.data"))["content"] == {"huge": [None]}


async def test_what_makes_no_sense_is_told_and_does_no_harm(url: str, backend: Foreign) -> None:
    nonsense: list[str | bytes] = [
        "{", "[]", "null", '{"type": 7}', '{"no": "type"}', b"\x00\xff",
        '{"type": "client.response.text", "content": 7}',
        '{"type": "what.ever"}', '{"type": "client.response.data", "data": 1e999}', "[" * 5000,
    ]  # fmt: skip
    async with connected(url) as client:
        for one in nonsense:
            await client.send_raw(one)
            await client.until("playground.error")
        await client.say(" \n ")
        await client.send("client.ready")
        await client.send("trigger.response.audio.replay_finished", reason="completed")
        await client.send("vad_events", event="vad_model_failed")
        await client.say("x" * 500_000)
        assert "100,000 characters" in (await client.until("playground.error"))["error"]
        await client.say("\ud800 fine")
        assert await client.answer() == "� fine"
    assert [body["type"] for body in backend.webhooks[:2]] == ["session.start", "message"]
    assert not backend.of("data")


async def test_only_a_socket_that_asks_gets_the_playgrounds_own_messages(url: str) -> None:
    async with connected(url, events=False) as client:
        await client.send_raw("{")
        await client.say("slow")
        await client.until("response.text")
        await client.say("status 500")
        await client.until("response.end")
    assert not [m for m in client.got if m["type"].startswith("playground.")]


async def test_webhooks_are_sent_twice_and_late_when_one_asks_for_it(url: str, backend: Foreign) -> None:
    faults = {"duplicates": 1, "delay_ms": [100, 150], "recording": True}
    async with connected(url, config={"playground": faults}) as client:
        began = asyncio.get_running_loop().time()
        await client.say("Hi.")
        await client.until("response.text")
        assert asyncio.get_running_loop().time() - began >= 0.1
        await client.until("response.end")
    update = await backend.until("session.update")
    first, second = backend.of("message")
    assert first == second
    assert update["recording_status"] == "failed"


async def test_a_duplicate_of_a_turn_that_was_interrupted_is_compared_as_far_as_it_came(
    url: str, backend: Foreign
) -> None:
    async with connected(url) as client:
        await client.say("slow")
        for _ in range(3):
            await client.until("response.text")
        await client.send("trigger.turn.start", role="user")
        await client.send("trigger.turn.end", role="user")
        await client.until("playground.heard")
        await client.send("playground.duplicate")
        assert (await client.until("playground.duplicated"))["same"]


async def test_against_our_own_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A duplicate gets the same bytes; the memory is what was heard; a tool that is saved is there; the conversation
    is saved as a test that replays."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tools").mkdir()
    database = f"sqlite:///{tmp_path}/dev.db"
    async with development(database_url=database, tools_dir=Path("tools"), welcome_message="Hello.") as server:
        assert (await state(server, ""))["tools"] == []
        (tmp_path / "tools" / "tides.py").write_text(TOOL)
        async with connected(server.url) as client:
            await client.send("playground.duplicate")
            duplicated = await client.until("playground.duplicated")
            assert duplicated == {"type": "playground.duplicated", "status": 200, "same": True}
            assert [tool["name"] for tool in (await state(server, ""))["tools"]] == ["tides"]
            await client.say("When are the tides in Dover?")
            while "water" not in (await client.until("response.text"))["content"]:
                pass
            refused = [await save(server, client.conversation, name) for name in ("../x", None)]
            await client.say("And the tides in Brest?")
            heard = await client.until("playground.heard")
            await client.answer()
        shown = await state(server, client.conversation)
        saved = await save(server, client.conversation, "tides")
        again = await save(server, client.conversation, "tides")
        unknown = await save(server, "nobody", "other")
    assert [status for status, _ in refused] == [400, 400]
    assert saved == (200, {"file": "tests/runs/tides.json", "differs": []})
    assert again[0] == 409
    assert unknown[0] == 404
    assert json.loads((tmp_path / "tests/runs/tides.json").read_text())["format"] == "voice-run"
    assert shown["memory"][1] == {"agent": "Hello."}
    cut = [line for line in shown["memory"] if line.get("interrupted")]
    assert [line["agent"] for line in cut] == ([heard["text"]] if heard["words"] else [])
    welcome, dover, brest = shown["turns"]
    assert [turn["kind"] for turn in shown["turns"]] == ["welcome", "message", "message"]
    assert brest["outcome"] == "answered"
    assert dover["text"] == "When are the tides in Dover?"
    for turn in (dover, brest):
        (tool,) = turn["tools"]
        assert (tool["name"], tool["state"], tool["arguments"]) == (
            "tides",
            "finished",
            {"harbour": tool["result"][18:-1]},
        )
        first, second = turn["model_calls"]
        assert 0 <= first["at"] <= first["first_token"] <= first["end"] <= second["at"] <= second["end"]
        assert max(first["end"] - tool["at"], second["end"] - turn["end"]) <= 50
    assert welcome["model_calls"] == []
    assert (shown["model"], shown["demo"], shown["own"], shown["pending"]) == ("demo", True, True, None)


TOOL = '''
from agent import voice_tool

@voice_tool
async def tides(harbour: str) -> str:
    """Next high and low water at a harbour."""
    return f"High water at six {harbour}."
'''


async def state(server: Backend, conversation: str) -> dict[str, Any]:
    answer = await server.http.get(f"{server.url}/playground/state", params={"conversation_id": conversation})
    made: dict[str, Any] = answer.json()
    return made


async def save(server: Backend, conversation: str, name: str | None) -> tuple[int, dict[str, Any]]:
    body = {"conversation_id": conversation, "name": name}
    answer = await server.http.post(f"{server.url}/playground/save", json=body)
    return answer.status_code, answer.json()
