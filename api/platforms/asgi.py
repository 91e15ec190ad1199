"""Requests and WebSockets to an ASGI application in this event loop, without buffers.

What the application sends waits until it is taken, as on a connection whose peer reads slowly. Nothing here needs a
thread or a socket, so it also works in virtual time (agent/replay/virtual_time.py).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
from starlette.types import ASGIApp, Message

_LEAVING = 30.0  # seconds that the application has to end once its peer is gone


class _Rendezvous:
    """Messages whose senders wait until they are taken. What a sender gives up is not delivered."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Message, asyncio.Future[None]]] = deque()
        self._news = asyncio.Event()
        self._over = False
        self._peer_is_gone = False

    async def put(self, message: Message) -> None:
        if self._peer_is_gone:
            return
        taken = asyncio.get_running_loop().create_future()
        entry = message, taken
        self._waiting.append(entry)
        self._news.set()
        try:
            await taken
        except asyncio.CancelledError:
            if entry in self._waiting and not _is_out(message):
                self._waiting.remove(entry)
            raise

    async def take(self) -> Message | None:
        """The next one; None when no more comes."""
        while True:
            while self._waiting:
                message, taken = self._waiting.popleft()
                if not taken.done():
                    taken.set_result(None)
                elif not _is_out(message):
                    continue
                return message
            if self._over:
                return None
            self._news.clear()
            await self._news.wait()

    def lose_peer(self) -> None:
        """Nobody takes what is sent from now on, nor the frames that wait to be taken: they are lost."""
        self._peer_is_gone = True
        for message, taken in self._waiting:
            if _is_out(message) and not taken.done():
                taken.set_result(None)

    def end(self) -> None:
        """Nobody sends any more."""
        self._over = True
        self._news.set()


def _is_out(message: Message) -> bool:
    """Whether it reaches the peer although the application was stopped as it sent it: servers write a frame first, and
    wait then."""
    kind: str = message["type"]
    return kind == "websocket.send"


class _Exchange:
    """One run of the application."""

    def __init__(self, app: ASGIApp, scope: dict[str, Any]) -> None:
        self.received: asyncio.Queue[Message] = asyncio.Queue()
        self.sent = _Rendezvous()
        self._task = asyncio.create_task(self._run(app, scope), name="application")

    async def _run(self, app: ASGIApp, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self.received.get, self.sent.put)
        finally:
            self.sent.end()

    async def leave(self, message: Message) -> None:
        """The peer is gone."""
        self.sent.lose_peer()
        self.received.put_nowait(message)
        await asyncio.wait([self._task], timeout=_LEAVING)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])


class AsgiTransport(httpx.AsyncBaseTransport):
    """For httpx.AsyncClient. Unlike httpx' own, a response is there as soon as it begins, and closing it before its end
    hangs up."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.partition(b"?")[0]
        scope = _scope(request.url, request.headers, "http") | {
            "method": request.method, "http_version": "1.1", "raw_path": path
        }  # fmt: skip
        exchange = _Exchange(self._app, scope)
        exchange.received.put_nowait({"type": "http.request", "body": await request.aread(), "more_body": False})
        try:
            start = await exchange.sent.take()
        except asyncio.CancelledError:
            await exchange.leave({"type": "http.disconnect"})
            raise
        if start is None:
            raise httpx.RemoteProtocolError("the application gave no response")
        return httpx.Response(start["status"], headers=start.get("headers", []), stream=_Body(exchange))


class _Body(httpx.AsyncByteStream):
    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while message := await self._exchange.sent.take():
            yield message.get("body", b"")
            if not message.get("more_body", False):
                return

    async def aclose(self) -> None:
        await self._exchange.leave({"type": "http.disconnect"})


async def connect_asgi(app: ASGIApp, base: str, path: str, headers: Mapping[str, str]) -> AsgiSocket | None:
    """Open a WebSocket; None when the application refuses it."""
    url = httpx.URL(base.replace("http", "ws", 1) + path)
    scope = _scope(url, httpx.Headers({"host": urlsplit(base).netloc, **headers}), "websocket") | {"subprotocols": []}
    exchange = _Exchange(app, scope)
    exchange.received.put_nowait({"type": "websocket.connect"})
    answer = await exchange.sent.take()
    if answer is not None and answer["type"] == "websocket.accept":
        return AsgiSocket(exchange)
    await exchange.leave({"type": "websocket.disconnect", "code": 1006})
    return None


class AsgiSocket:
    """An open one."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange

    async def send(self, text: str) -> None:
        self._exchange.received.put_nowait({"type": "websocket.receive", "text": text})

    async def receive(self) -> str | None:
        message = await self._exchange.sent.take()
        return message["text"] if message and message["type"] == "websocket.send" else None

    async def close(self) -> None:
        await self._exchange.leave({"type": "websocket.disconnect", "code": 1000})


def _scope(url: httpx.URL, headers: httpx.Headers, kind: str) -> dict[str, Any]:
    return {
        "type": kind, "asgi": {"version": "3.0"}, "scheme": url.scheme, "path": url.path, "root_path": "",
        "query_string": url.query, "headers": [(name.lower(), value) for name, value in headers.raw],
        "client": None, "server": None, "state": {},
    }  # fmt: skip
