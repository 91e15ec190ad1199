"""The stream of an answer: a hang-up is noticed while nothing is being sent, whatever the server says it speaks."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.turns import Turn, TurnRequest
from api.app import create_app
from api.platforms.layercode.webhook import spoken
from api.platforms.turn_response import TurnResponse
from api.settings import Settings
from tests.support.backend import SECRET, Backend, running
from tests.support.gemini import Gemini, stall, text


class Speaks:
    """Says another version of the ASGI specification than the server does."""

    def __init__(self, app: ASGIApp, spec_version: str) -> None:
        self._app = app
        self._spec_version = spec_version

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asgi = {**scope["asgi"], "spec_version": self._spec_version}
        await self._app({**scope, "asgi": asgi}, receive, send)


@asynccontextmanager
async def speaking(spec_version: str, gemini: Gemini, folder: Path) -> AsyncIterator[Backend]:
    settings = Settings(
        _env_file=None, layercode_webhook_secret=SecretStr(SECRET), google_api_key=SecretStr("test-key"),
        google_gemini_base_url=gemini.url, database_url=f"sqlite:///{folder}/voice.db", tools_dir=folder,
    )  # fmt: skip
    app = create_app(settings)
    app.add_middleware(Speaks, spec_version=spec_version)
    async with running(app, socket.create_server(("127.0.0.1", 0)), settings) as backend:
        yield backend


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
async def test_a_hang_up_in_a_silence_closes_the_models_stream(
    gemini: Gemini, tmp_path: Path, spec_version: str
) -> None:
    """Within 50 ms, before the first word and after it. By 2.4 Starlette's own responses wait for a failed send."""
    async with speaking(spec_version, gemini, tmp_path) as backend:
        for step in (stall(9, text("late")), text("One two", delay=9)):
            gemini.requests.clear()
            gemini.script(step)
            talk = asyncio.create_task(backend.caller().say("Tell me"))
            await until_silent(gemini)
            hung_up = time.monotonic()
            talk.cancel()
            await asyncio.wait([talk])
            assert await closed(gemini) - hung_up < 0.05


async def test_an_answer_leaves_nothing_for_the_garbage_collector() -> None:
    """Its collections stop the event loop: for some 20 ms, when thousands of answers have left reference cycles."""
    await answered()
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            await answered()
        assert gc.collect() < 20
    finally:
        gc.enable()


async def answered() -> None:
    """A turn's response, over a line that stays open."""
    turn = Turn(TurnRequest("c1", "t1", "message", text="Hello"), timeout=5)
    turn.admit()
    turn.say("One two.")
    asyncio.get_running_loop().call_soon(turn.end)

    async def send(_: Message) -> None:
        await asyncio.sleep(0)

    async def receive() -> Message:
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    await TurnResponse(turn, spoken(turn, "t1"))({"type": "http", "method": "POST"}, receive, send)


async def until_silent(gemini: Gemini) -> None:
    async with asyncio.timeout(5):
        while not gemini.requests:
            await asyncio.sleep(0.002)
    await asyncio.sleep(0.1)


async def closed(gemini: Gemini) -> float:
    """When the model's stream was closed, if our side closed it."""
    async with asyncio.timeout(5):
        while not gemini.requests[0].over:
            await asyncio.sleep(0.002)
    assert gemini.requests[0].closed_early
    return gemini.requests[0].closed_at or 0.0
