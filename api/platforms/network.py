"""How a platform's client reaches a server: over sockets, or an application in this process, also in virtual time."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

import httpx
from starlette.types import ASGIApp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from api.platforms.asgi import AsgiTransport, connect_asgi

IN_PROCESS = "http://voice.test"
_SECONDS = 120.0


class Unreachable(Exception):
    """The server does not answer, refuses the socket, or has broken off. The text says which, in a sentence."""


class Socket(Protocol):
    """A WebSocket to the server. send: raises Unreachable when it is closed."""

    async def send(self, text: str) -> None: ...

    async def receive(self) -> str | None:
        """The next frame; None once the socket is closed."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Network:
    """http: sends requests to the server; it knows its URL. open_socket: opens a WebSocket at a path, with headers;
    raises Unreachable."""

    http: httpx.AsyncClient
    open_socket: Callable[[str, Mapping[str, str]], Awaitable[Socket]]

    @property
    def url(self) -> str:
        """Of the server, without a slash at its end."""
        return str(self.http.base_url).rstrip("/")


@asynccontextmanager
async def in_process(app: ASGIApp) -> AsyncIterator[Network]:
    """To an application in this event loop. What it sends waits until the client takes it: nothing is buffered."""

    async def open_socket(path: str, headers: Mapping[str, str]) -> Socket:
        socket = await connect_asgi(app, IN_PROCESS, path, headers)
        if socket is None:
            raise Unreachable("The server refuses the socket.")
        return socket

    transport = AsgiTransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=IN_PROCESS, timeout=None, trust_env=False) as http:  # noqa: S113 - in virtual time
        yield Network(http, open_socket)


@asynccontextmanager
async def over_sockets(url: str) -> AsyncIterator[Network]:
    """To a server at an http or https URL."""

    async def open_socket(path: str, headers: Mapping[str, str]) -> Socket:
        where = url.replace("http", "ws", 1).rstrip("/") + path
        try:
            connection = await connect(where, additional_headers=dict(headers), compression=None)
        except (OSError, TimeoutError, ssl.SSLError, WebSocketException) as error:
            raise Unreachable(f"No socket can be opened at {where} ({type(error).__name__}).") from None
        return _RealSocket(connection)

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=url, timeout=_SECONDS, limits=limits) as http:
        yield Network(http, open_socket)


class _RealSocket:
    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, text: str) -> None:
        try:
            await self._connection.send(text)
        except ConnectionClosed:
            raise Unreachable("The server has closed the socket.") from None

    async def receive(self) -> str | None:
        with suppress(ConnectionClosed):
            return str(await self._connection.recv())
        return None

    async def close(self) -> None:
        await self._connection.close()
