"""A proxy as companies have them: what comes for any host goes to one server on this machine.

`https://` is asked for by CONNECT; the proxy then shows a certificate for the host and reads what comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from types import TracebackType
from typing import Self

import trustme

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Proxy:
    """`asked`: the first line of each request to it. `authority`: who has signed its certificate."""

    def __init__(self, server: str, host: str = "gemini.test") -> None:
        self.asked: list[str] = []
        self.authority = trustme.CA()
        self.url = ""
        self._port = int(server.rpartition(":")[2])
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert(host).configure_cert(self._tls)
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head.partition(b"\r\n")[0].decode())
            begun = head
            if head.startswith(b"CONNECT "):
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await writer.start_tls(self._tls)
                begun = b""
            there = await asyncio.open_connection("127.0.0.1", self._port)
            there[1].write(begun)
            await asyncio.gather(_carry(reader, there[1]), _carry(there[0], writer))
        writer.close()
        self._tasks.discard(task)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
