"""A proxy in front of Postgres that pools transactions or sessions, as pgbouncer does: what of its wire is needed here.

Clients are let in without a password. A client has a connection to the server from its first message until the server
is in no transaction any more, or with `sessions=True` until the client leaves.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

_SSL, _GSS, _CANCEL, _VERSION = 80877103, 80877104, 80877102, 196608


class _Wire:
    """Messages of one connection: a type, and a body with its length before it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def body(self) -> bytes:
        (size,) = struct.unpack("!I", await self._reader.readexactly(4))
        return await self._reader.readexactly(size - 4)

    async def message(self) -> tuple[bytes, bytes]:
        kind = await self._reader.readexactly(1)
        return kind, await self.body()

    def send(self, kind: bytes, body: bytes) -> None:
        self._writer.write(kind + struct.pack("!I", len(body) + 4) + body)

    def close(self) -> None:
        self._writer.close()


class Pooler:
    """`url`: of the database behind it. Use it as an async context manager."""

    def __init__(self, url: str, *, sessions: bool = False) -> None:
        parts = urlsplit(url)
        self._folder = parse_qs(parts.query)["host"][0]
        self._startup = f"user\0{parts.username}\0database\0{parts.path[1:]}\0\0".encode()
        self._sessions = sessions
        self._database = parts.path
        self._idle: list[_Wire] = []
        self._open: list[_Wire] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"postgresql://voice@127.0.0.1:{self._server.sockets[0].getsockname()[1]}{self._database}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for wire in self._open:
            wire.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        client = _Wire(reader, writer)
        try:
            while (code := struct.unpack("!I", (await client.body())[:4])[0]) in (_SSL, _GSS):
                writer.write(b"N")
            if code == _VERSION:
                await self._let_in(client)
                await (self._hold if self._sessions else self._forward)(client)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            client.close()

    async def _let_in(self, client: _Wire) -> None:
        server, settings = await self._connect()
        self._idle.insert(0, server)
        client.send(b"R", struct.pack("!I", 0))
        for setting in settings:
            client.send(b"S", setting)
        client.send(b"K", secrets.token_bytes(8))  # made up, as it belongs to no one server process
        client.send(b"Z", b"I")

    async def _connect(self) -> tuple[_Wire, list[bytes]]:
        """A new connection to the server, and the settings that it reports."""
        server = _Wire(*await asyncio.open_unix_connection(f"{self._folder}/.s.PGSQL.5432"))
        self._open.append(server)
        server.send(b"", struct.pack("!I", _VERSION) + self._startup)
        settings: list[bytes] = []
        while (message := await server.message())[0] != b"Z":
            assert message[0] != b"E", message
            if message[0] == b"S":
                settings.append(message[1])
        return server, settings

    async def _forward(self, client: _Wire) -> None:
        """Each request, with its answer, on the connection that the client has or gets for it."""
        server: _Wire | None = None
        while (message := await client.message())[0] != b"X":
            server = server or await self._taken()
            server.send(*message)
            if message[0] not in b"QS":  # not yet a whole request: a simple query, or the end of an extended one
                continue
            while (answer := await server.message())[0] != b"Z":
                client.send(*answer)
            client.send(*answer)
            if answer[1] == b"I":
                self._idle.append(server)
                server = None

    async def _hold(self, client: _Wire) -> None:
        """One connection for all of them, and answers as they come: requests may be pipelined."""
        server = await self._taken()
        answering = asyncio.create_task(_copy(server, client))
        try:
            await _copy(client, server)
        finally:
            answering.cancel()
            await asyncio.wait([answering])

    async def _taken(self) -> _Wire:
        return self._idle.pop() if self._idle else (await self._connect())[0]


async def _copy(one: _Wire, other: _Wire) -> None:
    while True:
        other.send(*await one.message())
