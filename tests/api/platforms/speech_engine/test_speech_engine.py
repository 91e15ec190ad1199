"""ElevenLabs' Speech Engine: its own session class reads our answers, its own key derivation makes the token."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tests.support.backend import ROOT, Backend, backend
from tests.support.gemini import Gemini, text

KEY = "sk_0123456789abcdef0123456789abcdef"
LONG = "It is sunny today, and tomorrow there will be rain in the afternoon."


@pytest.fixture
def gemini() -> Iterator[Gemini]:
    with Gemini() as gemini:
        yield gemini


@pytest.fixture
async def server(gemini: Gemini, tmp_path: Path) -> AsyncIterator[Backend]:
    async with backend(
        elevenlabs_api_key=SecretStr(KEY), layercode_webhook_secret=SecretStr(""),
        google_api_key=SecretStr("test-key"), google_gemini_base_url=gemini.url,
        database_url=f"sqlite:///{tmp_path}/voice.db", tools_dir=ROOT / "tools",
    ) as server:  # fmt: skip
        yield server


def token(key: str = KEY, **claims: Any) -> str:
    """A JWT as the platform makes it (voice platforms sheet §2)."""
    now = int(time.time())
    fields = {"iss": "https://api.elevenlabs.io/convai/speech-engine", "sub": "convai_speech_engine_upstream"}
    parts = [{"alg": "HS256", "typ": "JWT"}, {**fields, "iat": now, "exp": now + 300, **claims}]
    body = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    signed = hmac.new(hashlib.sha256(key.encode()).digest(), body.encode(), hashlib.sha256).digest()
    return f"{body}.{base64.urlsafe_b64encode(signed).decode().rstrip('=')}"


@asynccontextmanager
async def engine(
    server: Backend, jwt: str | None = None, conversation: str = "conv_1"
) -> AsyncIterator[ClientConnection]:
    url = server.url.replace("http", "ws", 1) + "/elevenlabs/speech-engine"
    header = {"X-Elevenlabs-Speech-Engine-Authorization": f"Bearer {jwt or token()}"}
    async with connect(url, additional_headers=header) as socket:
        await socket.send(json.dumps({"type": "init", "conversation_id": conversation}))
        yield socket


async def say(socket: ClientConnection, event_id: int, *words: str) -> None:
    history = [{"role": "user", "content": said} for said in words]
    await socket.send(json.dumps({"type": "user_transcript", "event_id": event_id, "user_transcript": history}))


async def answer(socket: ClientConnection, event_id: int) -> str:
    """The words of one answer, to its end. Those of outdated ones are dropped, as the platform does."""
    words = ""
    async with asyncio.timeout(20):
        while True:
            frame = json.loads(await socket.recv())
            if frame["event_id"] == event_id:
                words += str(frame["content"])
                if frame["is_final"]:
                    return words


async def test_a_question_is_answered(server: Backend, gemini: Gemini) -> None:
    """The last user line of the history is what was said."""
    gemini.script(text("It is sunny."))
    async with engine(server) as socket:
        await say(socket, 1, "Hello", "The weather?")
        assert await answer(socket, 1) == "It is sunny."
        await socket.send(json.dumps({"type": "ping"}))
        assert json.loads(await socket.recv()) == {"type": "pong"}
    assert gemini.requests[-1].body["contents"][-1]["parts"][-1]["text"].endswith("The weather?")


async def test_a_higher_event_interrupts(server: Backend, gemini: Gemini) -> None:
    """The answer to the older one stops, and what was sent of it is in the memory."""
    gemini.script(text(LONG, delay=0.1), text("Yes?"))
    async with engine(server) as socket:
        await say(socket, 1, "The weather?")
        await socket.recv()
        await say(socket, 2, "Wait")
        assert await answer(socket, 2) == "Yes?"
    model = gemini.requests[-1].body["contents"][1]
    assert model["role"] == "model"
    assert LONG.startswith(model["parts"][0]["text"])
    assert model["parts"][0]["text"] != LONG


@pytest.mark.parametrize("finished", [True, False])
async def test_a_retry_gets_the_same_answer(server: Backend, gemini: Gemini, finished: bool) -> None:
    """The same event again, while it is answered and afterwards: the model is asked once."""
    gemini.script(text(LONG, delay=0.02))
    async with engine(server) as socket:
        await say(socket, 1, "The weather?")
        if finished:
            await answer(socket, 1)
        else:
            await socket.recv()
        await say(socket, 1, "The weather?")
        assert (await answer(socket, 1)).endswith(LONG)
    gemini.verify()


@pytest.mark.parametrize(
    "jwt",
    [token("another-key-0123456789abcdef"), token(iss="https://example.com"), token(exp=1), "nonsense", "a.b.c"],
)
async def test_strangers_are_refused(server: Backend, jwt: str) -> None:
    """A token that is not the platform's: the socket is never opened."""
    with pytest.raises(InvalidStatus):
        async with engine(server, jwt):
            pass


async def test_frames_that_make_no_sense_are_ignored(server: Backend, gemini: Gemini) -> None:
    """The conversation goes on."""
    gemini.script(text("It is sunny."))
    async with engine(server) as socket:
        for frame in ("", "[]", "{", '{"type": 5}', '{"type": "user_transcript"}', '{"type": "what"}'):
            await socket.send(frame)
        await socket.send(b"\x00")
        await say(socket, 1, "The weather?")
        assert await answer(socket, 1) == "It is sunny."
