"""Connections that send nothing, too slowly, or too much before it is a request; and whose address counts."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from api.operations import connections, unverified
from api.platforms import body
from tests.support.backend import Backend, signed
from tests.support.gemini import Gemini, text

HEAD = b"GET /livez HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)


async def connect(backend: Backend) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = backend.url.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))


async def drip(backend: Backend, begin: bytes, piece: bytes, seconds: float = 5) -> float:
    """Send something, then a piece every 0.1 s. Seconds until the server closed the line."""
    reader, writer = await connect(backend)
    began = time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            writer.write(begin)
            while True:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.1)
                if reader.at_eof() or reader.exception():
                    break
    except (ConnectionError, TimeoutError):
        pass
    finally:
        writer.close()
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"", b""),
        (b"", b"\r\n"),
        (HEAD, b"X-Slow: 1\r\n"),
        (b"GET /", b"a"),
        (HEAD + b"\r\n", b"\r\n"),  # a whole request first
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n", b"x"),  # a body that nobody reads
    ],
    ids=["nothing", "empty lines", "slow head", "slow path", "slow second request", "slow body"],
)
async def test_a_slow_request_is_not_waited_for(start: Any, begin: bytes, piece: bytes) -> None:
    assert await drip(await start(), begin, piece) < 3


async def test_a_head_without_end_is_not_read_to_it(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 30)
    assert await drip(await start(), HEAD, b"X: " + b"x" * 30_000 + b"\r\n") < 3


async def test_of_pipelined_requests_only_some_wait(start: Any) -> None:
    """Each costs memory that no body's limit counts, and 60 KB are 2,000 of them."""
    reader, writer = await connect(await start())
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 1500)
    async with asyncio.timeout(10):
        came = await reader.read()
    assert came.count(b"HTTP/1.1 200 ") <= 20
    assert b"HTTP/1.1 400 " in came
    writer.close()


async def test_a_quiet_connection_with_a_running_turn_is_kept(start: Any, gemini: Gemini) -> None:
    gemini.script(text("one two", delay=1.2))
    assert (await (await start()).caller().say("Slowly")).text == "one two"


async def test_of_too_many_connections_the_idlest_goes_and_callers_are_answered(
    start: Any, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 30)
    monkeypatch.setattr(unverified, "MAX_CONNECTIONS", 20)
    gemini.answer = lambda _: text("Still here.")
    backend: Backend = await start()
    idle = [await connect(backend) for _ in range(50)]
    assert (await backend.caller().say("Hello?")).text == "Still here."
    await asyncio.sleep(0.1)
    closed = [reader.at_eof() or reader.exception() is not None for reader, _ in idle]
    assert sum(closed) >= 30
    assert not any(closed[-15:])
    for _, writer in idle:
        writer.close()


@pytest.mark.parametrize("path", ["/api/agent", "/api/authorize"])
async def test_a_body_that_does_not_come_is_given_up_with_a_408(
    start: Any, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(body, "BODY_SECONDS", 0.3)
    reader, writer = await connect(await start(layercode_api_key="lc_0123456789"))
    signature = signed(b"{")["headers"]["layercode-signature"]
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nlayercode-signature: {signature}\r\nContent-Length: 999\r\n\r\n{{"
    writer.write(head.encode())
    async with asyncio.timeout(5):
        answer = await reader.readuntil(b"\r\n\r\n")
        said = await reader.readuntil(b"}")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert said == b'{"error":"The body took too long."}'
    writer.close()


# Whose address it is


async def asked(backend: Backend, addresses: list[str]) -> list[int]:
    url = f"{backend.url}/api/authorize"
    return [(await backend.http.post(url, json={}, headers={"X-Forwarded-For": a})).status_code for a in addresses]


async def test_behind_a_trusted_proxy_each_caller_counts_for_himself(start: Any) -> None:
    """503: no API key is set, so that the request went through."""
    backend = await start(authorize_per_minute=2, forwarded_allow_ips="127.0.0.1")
    statuses = await asked(backend, ["203.0.113.1", "203.0.113.1", "203.0.113.2", "203.0.113.1", "10.0.0.1"])
    assert statuses == [503, 503, 503, 429, 503]


async def test_nobody_else_can_say_that_he_is_another(start: Any, caplog: pytest.LogCaptureFixture) -> None:
    backend = await start(authorize_per_minute=2, forwarded_allow_ips="192.0.2.1")
    assert await asked(backend, ["203.0.113.1", "203.0.113.2", "203.0.113.3"]) == [503, 503, 429]
    assert "FORWARDED_ALLOW_IPS" in caplog.text
