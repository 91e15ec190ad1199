"""Requests that ask for another protocol: each is served, refused or closed in time, and none is in the way of the
shutdown."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.asyncio.client import connect

from api.operations import connections
from api.settings import Settings
from tests.api.operations.test_shutdown import TWENTY, answers, ended, running, speaking
from tests.support.backend import Backend, served
from tests.support.backend import running as serving
from tests.support.gemini import Gemini, text
from tests.support.phone import TOKEN, phone, signature

_ASK = b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
_KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
UPGRADES = {
    "a body announced": _ASK + b"Content-Length: 1\r\n\r\n",
    "a body": _ASK + b"Content-Length: 1\r\n\r\nx",
    "chunks": _ASK + b"Transfer-Encoding: chunked\r\n\r\n",
    "chunked body": _ASK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    "a long header": _ASK + b"X: " + b"y" * 20_000 + b"\r\n\r\n",
    "many headers": _ASK + b"X: y\r\n" * 500 + b"\r\n",
    "a handshake with a body": _ASK + _KEY + b"Content-Length: 1\r\n\r\n",
    "a handshake with a long header": _ASK + _KEY + b"X: " + b"y" * 20_000 + b"\r\n\r\n",
    "a handshake and garbage": _ASK + _KEY + b"\r\n" + b"\xff" * 300,
    "no key": _ASK + b"\r\n",
    "POST": _ASK.replace(b"GET", b"POST") + _KEY + b"\r\n",
    "HTTP/2": _ASK.replace(b"websocket", b"h2c") + b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
    "no protocol": _ASK.replace(b"websocket", b"") + b"\r\n",
    "CONNECT": b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
}
SOCKETS: dict[str, dict[str, str]] = {"a platform with a socket": {"TWILIO_AUTH_TOKEN": TOKEN}, "none": {}}
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
def environment(gemini: Gemini, tmp_path: Path) -> dict[str, str]:
    gemini.answer = answers
    return {
        "GOOGLE_API_KEY": "test-key",
        "GOOGLE_GEMINI_BASE_URL": gemini.url,
        "DATABASE_URL": f"sqlite:///{tmp_path}/voice.db",
    }


@asynccontextmanager
async def asked(backend: Backend) -> AsyncIterator[dict[str, Streams]]:
    """A connection for each of them, with its request sent."""
    host, _, port = backend.url.removeprefix("http://").partition(":")
    made = {}
    for name, request in UPGRADES.items():
        made[name] = await asyncio.open_connection(host, int(port))
        made[name][1].write(request)
    yield made
    for _, writer in made.values():
        writer.close()


async def left_open(made: dict[str, Streams], seconds: float) -> list[str]:
    """Those that the server has not closed after so long."""

    async def read(reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):
            await reader.read()

    reading = {asyncio.create_task(read(reader)): name for name, (reader, _) in made.items()}
    _, late = await asyncio.wait(reading, timeout=seconds)
    for task in late:
        task.cancel()
    return [reading[task] for task in late]


@pytest.mark.parametrize("sockets", SOCKETS)
async def test_none_is_held_for_longer_than_a_request_may_take(
    start: Any, monkeypatch: pytest.MonkeyPatch, sockets: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection on which an answer was sent may stay open for another request, as long as any may."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    settings = {name.lower(): value for name, value in SOCKETS[sockets].items()}
    backend = await start(**settings, keep_alive_seconds=1)
    async with asked(backend) as made:
        assert await left_open(made, 5) == []
    assert "Traceback" not in caplog.text
    assert "Exception" not in caplog.text


@pytest.mark.parametrize("sockets", SOCKETS)
async def test_sigterm_with_such_connections_open_drains_and_closes_the_database(
    environment: dict[str, str], gemini: Gemini, tmp_path: Path, sockets: str
) -> None:
    async with (
        served(**environment, **SOCKETS[sockets]) as backend,
        speaking(backend, gemini) as turn,
        asked(backend),
    ):
        await asyncio.sleep(0.3)
        running(backend).send_signal(signal.SIGTERM)
        status, output = await ended(backend)
    assert turn.result().text == TWENTY
    assert turn.result().ended_once
    assert status == 0
    assert "Traceback" not in output
    assert "AssertionError" not in output
    assert not (tmp_path / "voice.db-wal").exists(), "the database was not closed"


async def test_so_do_several_workers_and_a_phone_call_is_finished(
    environment: dict[str, str], gemini: Gemini, postgres_url: str
) -> None:
    both = {"DATABASE_URL": postgres_url, "TWILIO_AUTH_TOKEN": TOKEN}
    async with (
        served("--workers", "2", **environment | both) as backend,
        asked(backend),
        phone(backend.url) as call,
    ):
        await call.answer()
        await call.say("Go on by phone")
        heard = await call.words(5)
        async with speaking(backend, gemini) as turn:
            running(backend).send_signal(signal.SIGTERM)
            heard += await call.answer()
        status, output = await ended(backend)
    assert turn.result().text == TWENTY
    assert heard == TWENTY
    assert status == 0
    assert "Traceback" not in output
    assert "AssertionError" not in output


async def test_a_connection_that_cannot_be_closed_does_not_stop_the_shutdown(
    start: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the fault in the protocol's own code."""

    def broken(*_: object) -> None:
        raise AssertionError

    backend = await start(twilio_auth_token=TOKEN)
    monkeypatch.setattr("uvicorn.protocols.http.httptools_impl.HttpToolsProtocol.shutdown", broken)
    monkeypatch.setattr("uvicorn.protocols.websockets.websockets_sansio_impl.WebSocketsSansIOProtocol.shutdown", broken)
    host, _, port = backend.url.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    relay = backend.url.replace("http", "ws", 1) + "/twilio/relay"
    async with connect(relay, additional_headers=signature(relay)):
        await start()  # stops the one before it; what it raises fails the test
    writer.close()
    assert caplog.text.count("a connection could not be closed in order") == 2


async def test_a_socket_that_the_application_does_not_accept_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it waits for."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    app = FastAPI()
    app.state.agent, app.state.has_sockets = None, True

    @app.websocket("/twilio/relay")
    async def wait(_: WebSocket) -> None:
        await asyncio.sleep(60)

    async with serving(app, socket.create_server(("127.0.0.1", 0)), Settings(_env_file=None)) as backend:
        reader, writer = await handshake(backend)
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_without_a_platform_that_needs_it_no_websocket_is_spoken(start: Any) -> None:
    backend = await start()
    async with asked(backend) as made:
        reader, _ = made["no key"]
        assert (await reader.readline()).startswith(b"HTTP/1.1 404 ")


EMPTY = b"\0\x80\0\0\0\0"  # a part of a message, masked, with nothing in it


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A number for each part of a message that was read."""
    came: list[int] = []
    read = WebSocketsSansIOProtocol.handle_cont

    def counted(self: WebSocketsSansIOProtocol, event: Any) -> None:
        came.append(1)
        read(self, event)

    monkeypatch.setattr(WebSocketsSansIOProtocol, "handle_cont", counted)
    return came


async def test_a_socket_with_too_many_frames_is_closed_before_they_are_read(start: Any, parts: list[int]) -> None:
    """Each costs, also an empty one: 40,000 that came together held up every other call for three seconds."""
    backend = await start(twilio_auth_token=TOKEN)
    reader, writer = await handshake(backend)
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    writer.write(b"\x01\x81\0\0\0\0x" + EMPTY * 100_000)
    with suppress(ConnectionError):
        await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert 0 < len(parts) < 2 * connections.MAX_FRAMES


async def test_a_message_in_many_parts_is_taken(start: Any, gemini: Gemini, parts: list[int]) -> None:
    gemini.script(text("Hello."))
    backend = await start(twilio_auth_token=TOKEN)
    async with phone(backend.url) as call:
        await call.answer()
        prompt = json.dumps({"type": "prompt", "voicePrompt": "Hello?", "last": True})
        await call.socket.send([prompt[:9], *prompt[9:], *[""] * (connections.MAX_FRAMES // 2)])
        assert await call.answer() == "Hello."
    assert len(parts) > connections.MAX_FRAMES // 2


async def handshake(backend: Backend) -> Streams:
    """A connection on which the relay's socket was asked for, signed."""
    host, _, port = backend.url.removeprefix("http://").partition(":")
    lines = "".join(f"{name}: {value}\r\n" for name, value in signature(f"ws://{host}:{port}/twilio/relay").items())
    ask = _ASK.replace(b"/x", b"/twilio/relay").replace(b"Host: x", f"Host: {host}:{port}".encode())
    streams = await asyncio.open_connection(host, int(port))
    streams[1].write(ask + _KEY + lines.encode() + b"\r\n")
    return streams
