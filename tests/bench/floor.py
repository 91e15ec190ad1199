"""The floor: the cheapest relay that one could write. Raw ASGI on uvicorn, aiohttp to the model, memory in RAM, no
graph, no tool declared, nothing kept of what was heard, nothing journalled. What a turn costs beyond this is what the
agent costs.

A piece of the model's stream is searched for words as it came from the socket, and they are passed on as they stand:
a string of JSON is the same in an event. The conversation is kept in the bytes that the next request is made of. It
checks the signature, and closes the model's stream when the caller hangs up. It has no tool; in the benchmark's tool
turn the model calls one nevertheless, and is given a constant as its result, in a second request.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import re
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import orjson
import uvicorn
from yarl import URL

_KEPT = 40
_AGE = 300  # seconds that a signature is good for
_TIMES = 16  # sockets to accept from: uvloop takes one connection from each in a round of its loop
_WORDS = re.compile(rb'[\[,]\{"text": ?"([^"\\]*(?:\\.[^"\\]*)*)"')
_START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
_REFUSED = {"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]}
_JSON = {"Content-Type": "application/json"}
_RESULT = b'{"role":"user","parts":[{"functionResponse":{"name":"clock","response":{"now":"noon"}}}]}'

Json = dict[str, Any]
Send = Callable[[Json], Awaitable[None]]


class Relay:
    def __init__(self, gemini: str, secret: str) -> None:
        self.url = URL(f"{gemini}/v1beta/models/gemini-3.5-flash-lite:streamGenerateContent?alt=sse", encoded=True)
        self.secret = secret.encode()
        self.memory: dict[str, list[bytes]] = {}
        self.http: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Json, receive: Callable[[], Awaitable[Json]], send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body, more = body + message["body"], message["more_body"]
        if not self.signed(scope["headers"], body):
            await send(_REFUSED)
            return await send({"type": "http.response.body", "body": b""})
        turn = asyncio.current_task()
        assert turn
        listening = asyncio.ensure_future(receive())  # returns when the caller hangs up, or the response has ended
        listening.add_done_callback(lambda _: turn.cancel())
        try:
            await self.turn(orjson.loads(body), send)
        except asyncio.CancelledError:
            if not listening.done():
                raise
        return None

    def signed(self, headers: list[tuple[bytes, bytes]], body: bytes) -> bool:
        at, _, digest = dict(headers).get(b"layercode-signature", b"").removeprefix(b"t=").partition(b",v1=")
        right = hmac.digest(self.secret, at + b"." + body, "sha256").hex().encode()
        return hmac.compare_digest(right, digest) and abs(time.time() - int(at)) <= _AGE

    async def turn(self, asked: Json, send: Send) -> None:
        memory = self.memory[asked["conversation_id"]] = self.memory.get(asked["conversation_id"], [])[-_KEPT:]
        memory.append(b'{"role":"user","parts":[{"text":%b}]}' % orjson.dumps(asked["text"]))
        turn_id = orjson.dumps(asked["turn_id"])
        await send(_START)
        while call := await self.answer(memory, b'","turn_id":%b}\n\n' % turn_id, send):
            memory += [b'{"role":"model","parts":[%b]}' % call, _RESULT]
        end = b'data: {"type":"response.end","turn_id":%b}\n\n' % turn_id
        await send({"type": "http.response.body", "body": end})

    async def answer(self, memory: list[bytes], after: bytes, send: Send) -> bytes:
        """Passes on the model's words. A part with a function call, if that came."""
        if self.http is None:
            self.http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(),
                headers=_JSON,
                skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
                auto_decompress=False,
            )
        said, rest = [], b""
        async with self.http.post(self.url, data=b'{"contents":[%b]}' % b",".join(memory)) as response:
            while piece := await response.content.readany():
                rest += piece
                events = b""
                for match in _WORDS.finditer(rest):
                    said.append(match[1])
                    events += b'data: {"type":"response.tts","content":"%b%b' % (match[1], after)
                if events:
                    rest = rest[match.end() :]
                    await send({"type": "http.response.body", "body": events, "more_body": True})
        if not said and b'"functionCall"' in rest:
            call = orjson.loads(rest[rest.index(b"{") : rest.rindex(b"}") + 1])
            return orjson.dumps(call["candidates"][0]["content"]["parts"][0])
        memory.append(b'{"role":"model","parts":[{"text":"%b"}]}' % b"".join(said))
        return b""


def main(port: int, gemini: str) -> None:
    relay = Relay(gemini, os.environ["LAYERCODE_WEBHOOK_SECRET"])
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    config = uvicorn.Config(
        relay, lifespan="off", ws="none", log_config=None, access_log=False, proxy_headers=False, server_header=False,
        date_header=False,
    )  # fmt: skip
    uvicorn.Server(config).run([listener, *(listener.dup() for _ in range(_TIMES - 1))])


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
