"""The callers: each holds one conversation over one connection, signs its webhooks, and times what comes back."""

from __future__ import annotations

import asyncio
import hmac
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from tests.bench.servers import SECRET
from tests.bench.standin import STAMP, unstamp


@dataclass(frozen=True)
class Plan:
    """What the model is to do: so many tokens, the first after `first` ms, then one each `gap` ms. The caller then
    speaks again after `pause` ms: nobody has heard an answer's last word at the moment it comes."""

    tokens: int = 40
    first: int = 50
    gap: int = 5
    kind: str = "talk"
    pause: int = 0

    @property
    def spread(self) -> float:
        """Seconds within which a crowd begins: an answer's length."""
        return (self.first + self.gap * self.tokens) / 1000

    @property
    def seconds(self) -> float:
        """Of a turn, with a server that takes no time."""
        return self.spread + self.pause / 1000

    def words(self, name: str) -> str:
        return f"bench:{self.tokens}:{self.first}:{self.gap}:{name}:{self.kind}"


@dataclass
class Reply:
    """Times in seconds. `lags`: of each token, from the model's socket to the caller's. `first`: until the first
    words, the time beyond the model's own."""

    first: float | None = None
    lags: list[float] = field(default_factory=list)
    took: float = 0.0
    fault: str = ""


class Line(asyncio.Protocol):
    """A connection on which one turn at a time is had."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.done: asyncio.Future[None] | None = None
        self.rest = b""
        self.began = self.hung_up = 0.0
        self.hang_up_after: int | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self.done and not self.done.done():
            self.reply.fault = self.reply.fault or "the connection was lost"
            self.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b'data: {"type":"response.tts"'):
                self._words(line.decode(), now)
            elif line.startswith(b"HTTP/1.1 ") and not line.startswith(b"HTTP/1.1 200"):
                self.reply.fault = line.decode().strip()
            elif line.startswith(b'data: {"type":"response.end"'):
                self.ended = True
            elif line == b"0\r" and self.done and not self.done.done():
                self.reply.fault = self.reply.fault or ("" if self.ended else "the stream has no end")
                self.done.set_result(None)

    def _words(self, line: str, now: float) -> None:
        times = [unstamp(word) for word in STAMP.findall(line.partition('"content":')[2].partition('"turn_id"')[0])]
        if not times:
            self.reply.fault = "an apology"
        elif self.reply.first is None:
            arrived, *times = times
            self.reply.first = now - self.began - (times[0] - arrived)
        self.reply.lags += [now - at for at in times]
        if self.hang_up_after and len(self.reply.lags) >= self.hang_up_after:
            self.hung_up = time.monotonic()
            self.transport.abort()

    async def turn(self, conversation: str, number: int, plan: Plan, hang_up_after: int | None = None) -> Reply:
        self.reply, self.rest, self.ended, self.hang_up_after, self.hung_up = Reply(), b"", False, hang_up_after, 0.0
        fields = {"type": "message", "conversation_id": conversation, "session_id": "s", "turn_id": f"t{number}"}
        request = _request({**fields, "text": plan.words(f"{conversation}-{number}")})
        self.done = asyncio.get_running_loop().create_future()
        self.began = time.monotonic()
        self.transport.write(request)
        try:
            await asyncio.wait_for(self.done, 120)
        except TimeoutError:
            self.reply.fault = "no end within 120 s"
        self.reply.took = time.monotonic() - self.began
        if not (self.hung_up or self.reply.fault) and len(self.reply.lags) != plan.tokens:
            self.reply.fault = f"{len(self.reply.lags)} of {plan.tokens} tokens came"
        return self.reply


def _request(fields: dict[str, str]) -> bytes:
    body, now = json.dumps(fields).encode(), int(time.time())
    signature = hmac.digest(SECRET.encode(), f"{now}.".encode() + body, "sha256").hex()
    return (
        "POST /api/agent HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nlayercode-signature: t={now},v1={signature}\r\n\r\n"
    ).encode() + body


async def dial(port: int) -> Line:
    _, line = await asyncio.get_running_loop().create_connection(Line, "127.0.0.1", port)
    return line


async def talk(port: int, name: str, turns: int, plan: Plan, *, after: int = 0, spread: float = 0.0) -> list[Reply]:
    """So many turns of a conversation that has had `after` turns, begun within `spread` seconds."""
    await asyncio.sleep(random.random() * spread)
    line = await dial(port)
    replies = []
    for number in range(after, after + turns):
        replies.append(await line.turn(name, number, plan))
        if plan.pause:
            await asyncio.sleep(plan.pause / 1000)
    line.transport.close()
    return replies


async def crowd(
    port: int, name: str, callers: int, turns: int, plan: Plan, spread: float | None = None
) -> tuple[list[Reply], float]:
    """So many conversations at once, begun within `spread` seconds, by default the length of a turn; what came, and
    the seconds that all took."""
    began = time.monotonic()
    spread = plan.spread if spread is None else spread
    talks = [talk(port, f"{name}-{number}", turns, plan, spread=spread) for number in range(callers)]
    replies = [reply for one in await asyncio.gather(*talks) for reply in one]
    return replies, time.monotonic() - began


async def hang_up(port: int, name: str, callers: int, plan: Plan) -> dict[str, float]:
    """So many callers who hang up after five tokens: by the model's name of the turn, when."""

    async def one(number: int) -> tuple[str, float]:
        await asyncio.sleep(random.random())
        line = await dial(port)
        await line.turn(f"{name}-{number}", 0, plan, hang_up_after=5)
        return f"{name}-{number}-0", line.hung_up

    return dict(await asyncio.gather(*(one(number) for number in range(callers))))


async def closed(port: int) -> dict[str, float]:
    """When the model saw its requests hung up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /closed HTTP/1.1\r\nHost: bench\r\n\r\n")
    length = int((await reader.readuntil(b"\r\n\r\n")).rpartition(b"Content-Length: ")[2])
    text = await reader.readexactly(length)
    writer.close()
    return cast(dict[str, float], json.loads(text))


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
