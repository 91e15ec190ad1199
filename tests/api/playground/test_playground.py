"""The local stand-in for Layercode's pipeline: turns, barge-in and data, against a backend that notes what it is
sent."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import websockets

from tests.support.playground import WORDS, Client, Foreign, authorized, connected, development, foreign, socket_url


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


async def test_push_to_talk_interrupts_and_audio_is_refused_once(url: str, backend: Foreign) -> None:
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


async def test_in_a_pause_of_the_backend_the_line_does_not_fall_silent(url: str) -> None:
    """layercode-gym takes 3 s without audio for the end of an answer (§8)."""
    async with connected(url) as client:
        await client.say("wait")
        turn = (await client.until("response.audio"))["turn_id"]
        for _ in range(2):
            await client.until("response.audio", seconds=3, content="", turn_id=turn)


@pytest.mark.parametrize(
    ("trigger", "begin", "end"),
    [
        ("push_to_talk", {"type_": "trigger.turn.start"}, {"type_": "trigger.turn.end"}),
        ("automatic", {"type_": "vad_events", "event": "vad_start"}, {"type_": "vad_events", "event": "vad_end"}),
    ],
)
async def test_the_clients_marks_of_speech_interrupt_and_make_a_turn_without_words(
    trigger: str, begin: dict[str, Any], end: dict[str, Any], url: str, backend: Foreign
) -> None:
    async with connected(url, config={"transcription": {"trigger": trigger}}) as client:
        await client.say("wait")
        await client.until("response.text")
        await client.send(**begin)
        started = await client.until("turn.start", role="user")
        await client.until("playground.heard")
        await client.send(**begin)
        await client.send(**end)
        await client.until("turn.end", role="user", turn_id=started["turn_id"])
        await client.send(**end)
        await client.say("Typed.")
        assert await client.answer() == "Typed."
    assert [body["text"] for body in backend.of("message")] == ["wait", "Typed."]
    assert [start["turn_id"] for start in client.of("turn.start") if start["role"] == "user"] == [started["turn_id"]]


async def test_without_leave_to_interrupt_a_detected_voice_does_not(url: str) -> None:
    async with connected(url, config={"transcription": {"can_interrupt": False}}) as client:
        await client.say("A short one.")
        await client.until("response.text")
        await client.send("vad_events", event="vad_start")
        await client.send("vad_events", event="vad_end")
        assert await client.answer() == "A short one."
    assert not client.of("playground.heard")
