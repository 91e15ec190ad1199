"""Connections that nobody should make, of every kind, from a process of their own:

python -m tests.security.hostile HOST PORT COUNT AT_ONCE

Prints how often each kind was answered, closed, or still open when it was left after some seconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from tests.support.backend import signed
from tests.support.phone import signature

HOLD = 2.5  # seconds that a connection is held
_PAUSE = 0.3  # seconds between the pieces of a request

Pieces = list[bytes]


def request(line: str, *lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"{line} HTTP/1.1", "Host: x", *lines, "", ""]).encode() + body


def post(*lines: str, path: str = "/api/agent", body: bytes = b"{}", length: object = None) -> bytes:
    return request(f"POST {path}", *lines, f"Content-Length: {len(body) if length is None else length}", body=body)


def forged(body: bytes = b"{}", at: float | None = None, length: object = None) -> bytes:
    headers = signed(body, secret="whsec_another_one", at=at)["headers"]
    return post(*(f"{name}: {value}" for name, value in headers.items()), body=body, length=length)


def upgrade(*lines: str, path: str = "/x") -> bytes:
    return request(f"GET {path}", "Connection: Upgrade", "Upgrade: websocket", *lines)


_KEY = ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")


def frame(opcode: int, payload: bytes = b"x", *, masked: bool = True, fin: bool = True, length: int = -1) -> bytes:
    size = len(payload) if length < 0 else length
    head = bytes([opcode | (0x80 if fin else 0)])
    head += bytes([size | (0x80 if masked else 0)]) if size < 126 else b"\xff" + size.to_bytes(8, "big")
    return head + (b"\0\0\0\0" if masked else b"") + payload


class Hostile:
    """The kinds, for a server. Some of the sockets' handshakes are signed, so that frames are read."""

    def __init__(self, host: str, port: int) -> None:
        url = f"ws://{host}:{port}/twilio/relay"
        signed_lines = [f"{name}: {value}" for name, value in signature(url).items()]
        line = f"GET /twilio/relay HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        self._handshake = (line + "\r\n".join([*_KEY, *signed_lines, "", ""])).encode()

    def socket(self, *frames: bytes) -> Pieces:
        return [self._handshake, *frames]

    def kinds(self, chance: random.Random) -> dict[str, Callable[[], Pieces]]:
        some = chance.randbytes
        return {
            "nothing": lambda: [b""],
            "empty lines": lambda: [b"\r\n"] * 8,
            "slow head": lambda: [b"GET / HTTP/1.1\r\n", *[b"X: y\r\n"] * 8],
            "slow path": lambda: [b"GET /", *[b"a"] * 8],
            "endless head": lambda: [b"GET / HTTP/1.1\r\n", *[b"X: " + b"y" * 30_000 + b"\r\n"] * 4],
            "long path": lambda: [request("GET /" + "a" * 60_000)],
            "many headers": lambda: [request("GET /", *["X: y"] * 3000)],
            "unknown path": lambda: [
                request(chance.choice(["GET /", "POST /x", "DELETE /api/agent", "GET /../../etc"]))
            ],
            "unknown method": lambda: [request("BREW /pot"), request("CONNECT x:443")],
            "garbage": lambda: [some(500)],
            "TLS": lambda: [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + some(200)],
            "HTTP/2": lambda: [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + some(50)],
            "pipelined and not read": lambda: [request("GET /livez") * 2000],
            "pipelined webhooks": lambda: [post() * 100],
            "negative length": lambda: [post(length=-5)],
            "length of letters": lambda: [post(length="abc")],
            "two lengths": lambda: [post("Content-Length: 7")],
            "length and chunks": lambda: [post("Transfer-Encoding: chunked", body=b"0\r\n\r\n")],
            "bad chunks": lambda: [request("POST /api/agent", "Transfer-Encoding: chunked", body=b"ZZ\r\nx")],
            "endless chunks": lambda: [request("POST /x", "Transfer-Encoding: chunked"), *[b"1\r\nx\r\n"] * 8],
            "half body": lambda: [post(length=2**20)],
            "half body with a signature": lambda: [forged(length=2**20)],
            "large body with a signature": lambda: [forged(b"x" * 1_000_000)],
            "larger body with a signature": lambda: [forged(b"x" * 600_000, length=10**12)],
            "no signature": lambda: [post()],
            "malformed signature": lambda: [post("layercode-signature: t=1,v1=")],
            "stale signature": lambda: [forged(at=5)],
            "another's signature": lambda: [forged()],
            "another's call": lambda: [post("X-Twilio-Signature: " + "A" * 27 + "=", path="/twilio/voice")],
            "half a call": lambda: [post("X-Twilio-Signature: " + "A" * 27 + "=", path="/twilio/voice", length=60_000)],
            "another's key": lambda: [post("Authorization: Bearer x", path="/v1/chat/completions")],
            "expecting 100": lambda: [post("Expect: 100-continue", body=b"", length=100)],
            "authorize": lambda: [post(path="/api/authorize")],
            "half an authorize": lambda: [post(path="/api/authorize", length=60_000)],
            "metrics": lambda: [request("GET /metrics", "X-Real-IP: 127.0.0.1")],
            "upgrade with a body": lambda: [upgrade("Content-Length: 1")],
            "upgrade with chunks": lambda: [upgrade("Transfer-Encoding: chunked")],
            "upgrade with a long header": lambda: [upgrade(*_KEY, "X: " + "y" * 20_000)],
            "upgrade without a key": lambda: [upgrade()],
            "upgrade to nothing": lambda: [upgrade(*_KEY), some(100)],
            "upgrade without a signature": lambda: [upgrade(*_KEY, path="/twilio/relay"), frame(1)],
            "upgrade to HTTP/2": lambda: [request("GET /", "Connection: Upgrade", "Upgrade: h2c"), some(50)],
            "socket: nothing": lambda: self.socket(),
            "socket: every opcode": lambda: self.socket(frame(chance.randrange(16), some(20))),
            "socket: reserved bits": lambda: self.socket(frame(0x71, some(20))),
            "socket: no setup": lambda: self.socket(frame(1, b'{"type":"prompt"}')),
            "socket: no UTF-8": lambda: self.socket(frame(1, b"\xff\xfe")),
            "socket: unmasked": lambda: self.socket(frame(1, masked=False)),
            "socket: parts without an end": lambda: self.socket(*[frame(0 if n else 1, fin=False) for n in range(8)]),
            "socket: a huge frame": lambda: self.socket(frame(1, length=2**40)),
            "socket: pings": lambda: self.socket(frame(9) * 3000),
            "socket: a long ping": lambda: self.socket(frame(9, b"x" * 200, length=200)),
            "socket: a bad close": lambda: self.socket(frame(8, b"\0\1")),
            "socket: frames without end": lambda: self.socket(frame(1, b'{"type":"x"}') * 3000),
        }


async def attack(host: str, port: int, count: int, at_once: int) -> Counter[str]:
    chance, room, came = random.Random(7), asyncio.Semaphore(at_once), Counter[str]()
    kinds = Hostile(host, port).kinds(chance)

    async def one(kind: str) -> None:
        async with room:
            await asyncio.sleep(chance.random() * HOLD)  # they are many, and not in step
            came[f"{kind}: {await left(host, port, kinds[kind](), read='not read' not in kind)}"] += 1

    names = list(kinds)
    await asyncio.gather(*(one(names[number % len(names)]) for number in range(count)))
    return came


async def left(host: str, port: int, pieces: Pieces, *, read: bool) -> str:
    """Send the pieces and wait: `answered`, `closed`, or still `open` at the end."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        return "refused"
    answered = False
    try:
        async with asyncio.timeout(HOLD):
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(_PAUSE)
            while read and await reader.read(65_536):
                answered = True
            await asyncio.sleep(0 if read else HOLD)
        return "answered" if answered else "closed"
    except TimeoutError:
        return "answered" if answered else "open"
    except OSError:
        return "closed"
    finally:
        with suppress(OSError):
            writer.transport.abort()


if __name__ == "__main__":
    os.nice(15)  # strangers have machines of their own
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    where, number, how_many, together = sys.argv[1:]
    print(json.dumps(asyncio.run(attack(where, int(number), int(how_many), int(together)))))
