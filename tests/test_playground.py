"""The local stand-in for Layercode's pipeline: turns, barge-in, data and failures, against a backend that notes what
it is sent."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import websockets

from tests.backend import Backend, free_port
from tests.playground import WORDS, Client, Foreign, authorized, connected, development, foreign, socket_url


@pytest.fixture
async def backend() -> AsyncIterator[Foreign]:
    async with foreign() as made:
        yield made


@pytest.fixture
async def url(backend: Foreign, tmp_path: Path) -> AsyncIterator[str]:
    async with development(backend.url, database_url=f"sqlite:///{tmp_path}/dev.db") as server:
        yield server.url


def types(client: Client) -> list[str]:
    """Without the beats of empty audio."""
    found = [message["type"] for message in client.got]
    return [type_ for n, type_ in enumerate(found) if found[n - 1 : n] != [type_]]


async def test_the_order_of_messages_and_the_bodies_of_webhooks(url: str, backend: Foreign) -> None:
    terms: dict[str, Any] = {
        "custom_metadata": {"tenant": "acme"}, "custom_headers": {"X-Tenant": "acme", "layercode-signature": "no"},
        "from_phone_number": "+14155550123", "to_phone_number": "+14155559876",
    }  # fmt: skip
    async with connected(url, **terms) as client:
        await client.say("Hi Café ☕")
        assert await client.answer() == "Hi Café ☕"
        turn = ["turn.start", "response.text", "response.audio", "response.end"]
        assert types(client) == [*turn, "user.transcript", "turn.end", *turn]
        assistants = [m["turn_id"] for m in client.of("turn.start")]
        assert len(set(assistants)) == 2
        assert client.of("user.transcript")[0]["turn_id"].startswith("user-")
    ended = await backend.until("session.end")
    start, message, _ = backend.webhooks
    assert [start["type"], message["type"]] == ["session.start", "message"]
    assert message["text"] == "Hi Café ☕"
    assert [start["turn_id"], message["turn_id"]] == assistants
    for body in backend.webhooks:
        assert body["conversation_id"] == client.conversation
        assert body["session_id"] == start["session_id"]
        assert body["custom_metadata"] == {"tenant": "acme"}
        assert body["from_phone_number"] == "+14155550123"
    assert "interruption_context" not in message
    assert all(headers["x-tenant"] == "acme" for headers in backend.headers)
    assert [(line["role"], line["text"]) for line in ended["transcript"]] == [
        ("assistant", "Hello."), ("user", "Hi Café ☕"), ("assistant", "Hi Café ☕"),
    ]  # fmt: skip
    assert ended["duration"] > 0
    assert ended["recording_status"] == "disabled"
    assert "turn_id" not in ended


async def test_a_barge_in_drops_the_request_and_tells_what_was_heard(url: str, backend: Foreign) -> None:
    async with connected(url) as client:
        await client.say("slow")
        for _ in range(8):
            await client.until("response.text")
        await client.say("Stop.")
        started = await client.until("turn.start", role="user")
        heard = await client.until("playground.heard")
        assert await client.answer() == "Stop."
    slow, stop = backend.of("message")
    context = stop["interruption_context"]
    assert backend.dropped == [slow["turn_id"]]
    assert context["assistant_turn_id"] == heard["turn_id"] == slow["turn_id"]
    assert context["previous_turn_interrupted"] is True
    assert context["text_heard"] == heard["text"] == " ".join(WORDS[: heard["words"]])
    assert context["words_heard"] == heard["words"]
    assert 0 < heard["words"] < heard["of"] < len(WORDS)
    assert client.got.index(started) < client.got.index(heard)
    after = client.got[client.got.index(started) :]
    assert not [m for m in after if m["type"].startswith("response.") and m["turn_id"] == slow["turn_id"]]


async def test_an_answer_can_be_cut_long_after_its_stream_has_ended(url: str, backend: Foreign) -> None:
    """40 words came at once; what was heard is a matter of time, at a steady rate."""
    async with connected(url) as client:
        await client.say("long")
        for _ in WORDS:
            await client.until("response.text")
        await asyncio.sleep(1.5)
        await client.say("Stop.")
        heard = await client.until("playground.heard")
        await client.until("response.end")
        await client.say("Thanks.")
        await client.until("response.end")
    assert backend.dropped == []
    _, stop, thanks = backend.of("message")
    assert stop["interruption_context"]["text_heard"] == " ".join(WORDS[: heard["words"]])
    assert 2 <= heard["words"] <= 12
    assert heard["of"] == len(WORDS)
    assert "interruption_context" not in thanks


async def test_nothing_said_is_lost_however_quickly_one_types(url: str, backend: Foreign) -> None:
    async with connected(url) as client:
        for text in ("One.", "Two.", "Three."):
            await client.say(text)
        await client.until("user.transcript", content="Three.")
        await client.until("response.end")
    assert [body["text"] for body in backend.of("message")] == ["One.", "Two.", "Three."]


async def test_in_a_script_without_spaces_the_characters_that_were_played_were_heard(
    url: str, backend: Foreign
) -> None:
    poem = "床前明月光，疑是地上霜。举头望明月，低头思故乡。" * 3
    async with connected(url) as client:
        await client.say(poem)
        await client.until("response.text")
        await asyncio.sleep(1)
        await client.say("Stop.")
        heard = await client.until("playground.heard")
        await client.answer()
    context = backend.of("message")[1]["interruption_context"]
    assert poem.startswith(context["text_heard"])
    assert 10 < heard["characters"] == len(context["text_heard"]) < 60
    assert 8 < context["words_heard"] == heard["words"] < heard["of"] == 60


async def test_without_leave_to_interrupt_texts_wait_for_the_end(url: str, backend: Foreign) -> None:
    async with connected(url, config={"transcription": {"can_interrupt": False}}) as client:
        await client.say("Tell me a long thing, at length.")
        await client.until("response.text")
        await client.say("And now?")
        await client.until("response.end")
        assert await client.answer() == "And now?"
    assert not client.of("playground.heard")
    assert "interruption_context" not in backend.of("message")[1]


async def test_texts_that_waited_are_next_when_the_user_interrupts_without_words(url: str, backend: Foreign) -> None:
    async with connected(url, config={"transcription": {"trigger": "push_to_talk", "can_interrupt": False}}) as client:
        await client.say("wait")
        await client.until("response.text")
        await client.say("And now?")
        await client.send("trigger.turn.start", role="user")
        await client.send("trigger.turn.end", role="user")
        assert await client.answer() == "And now?"


async def test_who_has_spoken_before_the_client_is_ready_is_not_welcomed(url: str, backend: Foreign) -> None:
    async with connected(url, ready=False) as client:
        await client.say("wait")
        await client.until("response.text")
        await client.send("client.ready")
        await client.say("Hi.")
        assert await client.answer() == "Hi."
    assert [body["type"] for body in backend.webhooks] == ["message", "message"]


async def test_data_goes_both_ways_and_does_not_interrupt(url: str, backend: Foreign) -> None:
    async with connected(url) as client:
        await client.say("wait")
        turn = (await client.until("response.text"))["turn_id"]
        await client.send("client.response.data", data={"sku": ["A-17", None]})
        answer = await client.until("response.data")
        assert answer["content"] == {"got": {"sku": ["A-17", None]}}
    assert backend.of("data")[0]["turn_id"] == turn
    assert not client.of("playground.heard")


async def test_a_line_that_drops_in_mid_answer_is_resumed_with_what_was_heard(url: str, backend: Foreign) -> None:
    """Until an answer has been spoken to its end, as a welcome may be (§2.3)."""
    made = await authorized(url)
    async with websockets.connect(socket_url(url, made["client_session_key"])) as socket:
        first = Client(socket, made["conversation_id"])
        await first.send("client.ready")
        await first.until("response.end")
        await first.say("slow")
        for _ in range(12):
            await first.until("response.text")
        await first.drop()
    ended = await backend.until("session.end")
    slow = backend.of("message")[0]
    assert backend.dropped == [slow["turn_id"]]
    backend.welcome = ""
    async with connected(url, conversation_id=first.conversation) as second:
        await second.say("Where were we?")
        await second.until("response.end")
        await second.say("wait")
        await second.until("response.text")
    backend.welcome = "Welcome back."
    async with connected(url, conversation_id=first.conversation) as third:
        await third.say("Where were we now?")
        await third.until("response.end")
    assert "interruption_context" not in backend.of("message")[3]
    context = backend.of("message")[1]["interruption_context"]
    assert context["assistant_turn_id"] == slow["turn_id"]
    assert context["text_heard"] == ended["transcript"][-1]["text"]
    assert context["words_heard"] >= 1
    assert backend.of("session.start")[1]["conversation_id"] == first.conversation
    assert backend.of("session.start")[1]["session_id"] != slow["session_id"]


async def test_of_two_tabs_the_older_is_closed_and_says_why(url: str, backend: Foreign) -> None:
    async with connected(url) as older, connected(url, conversation_id=older.conversation) as newer:
        code, reason = await older.closed()
        assert (code, reason) == (4001, "This conversation was opened again, in another tab or by another client.")
        await newer.say("Here.")
        assert await newer.answer() == "Here."
    kinds = [body["type"] for body in backend.webhooks]
    assert kinds[:2] == ["session.start", "session.end"] or kinds[:2] == ["session.start", "session.start"]


async def test_push_to_talk_interrupts_and_audio_without_ears_is_told_once(url: str, backend: Foreign) -> None:
    async with connected(url, config={"transcription": {"trigger": "push_to_talk"}}) as client:
        await client.say("wait")
        await client.until("response.text")
        await asyncio.sleep(0.5)
        await client.send("trigger.turn.start", role="user")
        await client.until("turn.start", role="user")
        await client.until("playground.heard")
        for _ in range(5):
            await client.send("client.audio", content=base64.b64encode(bytes(1638)).decode())
        await client.send("trigger.turn.end", role="user")
        await client.until("turn.end")
        await client.say("Typed.")
        assert await client.answer() == "Typed."
    (error,) = client.of("playground.error")
    assert "cannot hear" in error["error"]
    assert backend.of("message")[1]["interruption_context"]["text_heard"] == "wait"


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
    trial = {"duplicates": 1, "delay_ms": [100, 150], "recording": True}
    async with connected(url, config={"playground": trial}) as client:
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
        assert 0 <= first["at"] <= first["first_token"] <= first["end"] <= second["at"] <= second["end"] <= turn["end"]
        assert first["end"] <= tool["at"] + 50
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
