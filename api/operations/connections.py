"""Connections without a request: uvicorn itself waits for a request's head for ever, however long it gets, and counts
no connections. How long one may be idle between two requests is uvicorn's `timeout_keep_alive`."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0  # from the first byte of a request, or the connection's beginning, until its head is there
MAX_HEAD = 64 * 1024  # bytes
MAX_CONNECTIONS = 4096


class Connection(HttpToolsProtocol):
    """Closed when a request's head takes too long or is too large. Of too many connections the one that has been
    without a request longest is closed."""

    _waiting: asyncio.TimerHandle | None = None
    _head = 0
    _idle_since: float | None = None  # by the event loop's time; None while there is a request

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._idle_since = self.loop.time()
        self._await_head()
        if len(self.connections) > MAX_CONNECTIONS:
            self._close_the_oldest()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing() or self.transport.get_protocol() is not self:  # it has become a WebSocket
            return
        if not self._waiting and (self.cycle is None or self.cycle.response_complete):
            self._await_head()
        if self._waiting:
            self._head += len(data)
            if self._head > MAX_HEAD:
                self.transport.abort()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        self._idle_since = None
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._head = 0
        self._waiting = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._waiting:
            self._waiting.cancel()
            self._waiting = None

    def _close_the_oldest(self) -> None:
        """Of those that are not being closed already; this one is among them."""
        idle = [one for one in self.connections if isinstance(one, Connection) and one._idle_since is not None]
        oldest = min(idle, key=lambda one: one._idle_since or 0.0)
        oldest._idle_since = None
        oldest.transport.abort()
