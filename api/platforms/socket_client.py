"""The clients of platforms that open one WebSocket for each call."""

from __future__ import annotations

import asyncio
import json
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from api.platforms.client import CallDetails, PlatformClient
from api.platforms.network import Network, Socket
from api.platforms.tasks import cancel


class SocketClient(PlatformClient):
    """Reads the socket in a task. Every frame is JSON."""

    must_begin = True

    def __init__(self, network: Network, call: CallDetails) -> None:
        super().__init__(network, call)
        self._socket: Socket | None = None
        self._reading: asyncio.Task[None] | None = None

    @abstractmethod
    async def _open(self) -> Socket:
        """Open a socket, and send on it what every call begins with."""

    @abstractmethod
    async def _take(self, frame: dict[str, Any]) -> bool:
        """A frame of the server's. Whether the call goes on."""

    @property
    def is_connected(self) -> bool:
        return self._reading is not None and not self._reading.done()

    async def connect(self) -> None:
        """Open the socket, or another one for the same call in its place."""
        await self.drop()
        self._socket = await self._open()
        self._reading = asyncio.create_task(self._read(self._socket), name="socket")

    async def drop(self) -> None:
        if self._reading:
            await cancel(self._reading)
        if self._socket:
            await self._socket.close()
        self._socket = self._reading = None

    async def _send(self, frame: Mapping[str, Any], socket: Socket | None = None) -> None:
        """Unreachable when the socket is closed."""
        socket = socket or self._socket
        assert socket is not None, "begin() comes first"  # noqa: S101 - for the type
        self._log("in", dict(frame))
        await socket.send(json.dumps(frame, ensure_ascii=False))

    async def _read(self, socket: Socket) -> None:
        try:
            while (frame := await self._next_frame(socket)) is not None and await self._take(frame):
                pass
        except (ValueError, KeyError, TypeError) as error:
            self._emit(self.answers, "failed", f"A frame cannot be understood ({type(error).__name__}).")
        await socket.close()
        self._emit(self.answers, "closed")

    async def _next_frame(self, socket: Socket) -> dict[str, Any] | None:
        await self._may_read()
        data = await socket.receive()
        if data is None:
            return None
        frame: dict[str, Any] = json.loads(data)
        self._log("out", frame)
        return frame
