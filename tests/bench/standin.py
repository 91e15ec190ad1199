"""Gemini's stand-in for the benchmark: quick, and each of its tokens says when it left.

A caller's words decide the answer: `bench:TOKENS:FIRST_MS:GAP_MS:NAME:PLAN`, PLAN being talk or tool. The first
token carries two stamps, when the request had arrived and when the token left; each other one. In a tool turn the
arrival is moved by the time that the call had taken, so that both requests' waiting counts as the model's. A stamp is
`time.monotonic()` in µs, in letters: a word like any other for whoever cleans it for speech.
`GET /closed` gives, by name, when a request was hung up before its end.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
import time
from typing import cast

import httptools
import uvloop

_PLAN = re.compile(rb"bench:(\d+):(\d+):(\d+):([\w-]+):(\w+)")
_HEX, _LETTERS = "0123456789abcdef", "abcdegijknoqrsvx"
_TO_LETTERS, _TO_HEX = str.maketrans(_HEX, _LETTERS), str.maketrans(_LETTERS, _HEX)
STAMP = re.compile(rf"\b[{_LETTERS}]{{7,14}}\b")
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_CALL = '{"functionCall":{"name":"clock","args":{"place":"Tokyo"}},"thoughtSignature":"c2lnbmVk"}'


def stamp(seconds: float) -> str:
    return f"{int(seconds * 1e6):x}".translate(_TO_LETTERS)


def unstamp(word: str) -> float:
    """Seconds."""
    return int(word.translate(_TO_HEX), 16) / 1e6


class Answering(asyncio.Protocol):
    closed: dict[str, float] = {}  # noqa: RUF012 - shared by all connections
    calling: dict[str, float] = {}  # noqa: RUF012 - by name, how long the tool call had taken

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.parser = httptools.HttpRequestParser(self)
        self.loop = asyncio.get_running_loop()
        self.name: str | None = None
        self.timer: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timer:
            self.timer.cancel()
        if self.name:
            self.closed[self.name] = time.monotonic()

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.url, self.body = b"", b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if self.url == b"/closed":
            text = json.dumps(self.closed).encode()
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))
            return
        arrived = time.monotonic()  # the loop's own time is in whole milliseconds, rounded down
        at = self.body.rfind(b"bench:")
        plan = _PLAN.match(self.body, at) if at >= 0 else None
        if plan is None:  # a connection is opened in good time
            self.transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        tokens, first, gap = (int(number) for number in plan.groups()[:3])
        self.name = plan[4].decode()
        said = self.body[at - 1 : at] == b'"'  # and does not stand in a transcript, which is to be summarised
        wants_tool = said and plan[5] == b"tool" and b"functionResponse" not in self.body[at:]
        self.left, self.spoken, self.gap = (1 if wants_tool else tokens), 0, gap / 1000
        self.call = _CALL if wants_tool else ""
        self.arrived: float | None = arrived - (0 if wants_tool else self.calling.pop(self.name, 0))
        self.due = self.loop.time() + first / 1000
        self.transport.write(_HEAD)
        self.timer = self.loop.call_at(self.due, self.token)

    def token(self) -> None:
        now = time.monotonic()
        words = f"{stamp(self.arrived)} {stamp(now)}" if self.arrived else f" {stamp(now)}"
        if self.call and self.name and self.arrived:
            self.calling[self.name] = now - self.arrived
        self.arrived = None
        self.left -= 1
        self.spoken += 1
        part = self.call or f'{{"text":"{words}"}}'
        finish = "" if self.left else ',"finishReason":"STOP"'
        event = (
            f'data: {{"candidates":[{{"content":{{"parts":[{part}],"role":"model"}}{finish},"index":0}}],'
            f'"usageMetadata":{{"promptTokenCount":20,"candidatesTokenCount":{self.spoken},'
            f'"totalTokenCount":{20 + self.spoken}}},"modelVersion":"gemini-3.5-flash-lite","responseId":"bench"}}'
            "\r\n\r\n"
        ).encode()
        end = b"" if self.left else b"0\r\n\r\n"
        self.transport.write(b"%x\r\n%b\r\n%b" % (len(event), event, end))
        if self.left:
            self.due += self.gap
            self.timer = self.loop.call_at(self.due, self.token)
        else:
            self.name = self.timer = None


async def main(port: int) -> None:
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    server = await asyncio.get_running_loop().create_server(Answering, sock=listener)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
