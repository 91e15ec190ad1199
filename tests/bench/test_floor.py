"""The relay is cheap, and right all the same: otherwise it is no floor."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.bench.floor import Relay
from tests.bench.servers import SECRET

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
_WORDS = ["Hi", ' "you"\\ ', "", "{é\n", '[{"text": "no"}]']
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def relay(answer: Answer) -> AsyncIterator[Relay]:
    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        json.loads(await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0])))
        await answer(reader, writer)
        writer.close()

    server = await asyncio.start_server(answered, "127.0.0.1")
    made = Relay(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", SECRET)
    try:
        yield made
    finally:
        if made.http:
            await made.http.close()
        server.close()


async def asked(made: Relay, hung_up: asyncio.Event, secret: str = SECRET) -> tuple[int, list[dict[str, Any]]]:
    """The status, and the events."""
    body, at = json.dumps({"conversation_id": "c", "turn_id": "t", "text": "Hello"}).encode(), int(time.time())
    digest = hmac.digest(secret.encode(), f"{at}.".encode() + body, "sha256").hex()
    received, sent = [{"type": "http.request", "body": body, "more_body": False}], []

    async def receive() -> dict[str, Any]:
        if received:
            return received.pop()
        await hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            hung_up.set()

    scope = {"headers": [(b"layercode-signature", f"t={at},v1={digest}".encode())]}
    await asyncio.create_task(made(scope, receive, send))
    stream = b"".join(message.get("body", b"") for message in sent)
    events = [json.loads(event.removeprefix(b"data: ")) for event in stream.split(b"\n\n") if event]
    return (sent[0]["status"] if sent else 0), events


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
async def test_words_come_whole_however_the_stream_is_cut(size: int) -> None:
    lines = [{"candidates": [{"content": {"parts": [{"text": words}]}, "index": 0}]} for words in _WORDS]
    stream = b"".join(b"data: " + json.dumps(line, ensure_ascii=False).encode() + b"\r\n\r\n" for line in lines)

    async def in_pieces(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_HEAD)
        for at in range(0, len(stream), size):
            writer.write(stream[at : at + size])
            await asyncio.sleep(0)

    async with relay(in_pieces) as made:
        status, events = await asked(made, asyncio.Event())
    assert status == 200
    assert [event["content"] for event in events[:-1]] == _WORDS
    assert events[-1] == {"type": "response.end", "turn_id": "t"}
    assert json.loads(made.memory["c"][-1])["parts"] == [{"text": "".join(_WORDS)}]


async def test_a_wrong_signature_is_refused() -> None:
    async def never(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("the model was asked")

    async with relay(never) as made:
        assert await asked(made, asyncio.Event(), secret="another") == (401, [])


async def test_a_hang_up_closes_the_models_stream() -> None:
    closed = asyncio.Event()

    async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_HEAD)
        hung_up.set()
        await reader.read()
        closed.set()

    hung_up = asyncio.Event()
    async with relay(until_closed) as made:
        assert await asked(made, hung_up) == (200, [])
        await asyncio.wait_for(closed.wait(), 5)
