"""Connections, and the time by which each must have become something that is served.

uvicorn itself waits for a request's head for ever, however long it gets; hands a request that asks for a WebSocket to a
protocol that may never answer it; waits for ever for a peer that does not read; and counts no connections. How long one
may be idle between two requests is uvicorn's `timeout_keep_alive`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from agent.failures import logged
from api.operations.unverified import Unverified, extension

log = logging.getLogger(__name__)

HEAD_SECONDS = 10.0  # from the first byte of a request, or the connection's beginning, until the application has it
WRITE_SECONDS = 20.0  # in which a peer must read some of what is waiting for it
MAX_HEAD = 64 * 1024  # bytes
MAX_PIPELINED = 16  # requests that wait for the answer to the one before: a kilobyte has many, each costs some
MAX_FRAMES = 2000  # of a WebSocket in a second, also those that are part of a message: each costs, however short
_PIECE = 4096  # bytes of frames that are read without a look at how many there were


class TooManyRequests(Exception):
    """More requests at once on a connection than MAX_PIPELINED."""


if TYPE_CHECKING:

    class _Protocol(asyncio.Protocol):
        """What both of uvicorn's protocols have."""

        loop: asyncio.AbstractEventLoop
        transport: asyncio.Transport

        def shutdown(self) -> None: ...

else:
    _Protocol = object


class _Bounded(_Protocol):
    """Cuts off a peer that does not read. A fault of the protocol's own at a shutdown ends its connection only."""

    _unread: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        with logged(log, "a connection could not be closed in order") as attempt:
            super().shutdown()
        if attempt.failed:
            self.transport.abort()

    def _stop_watching(self) -> None:
        if self._unread:
            self._unread.cancel()
            self._unread = None


class Connection(_Bounded, HttpToolsProtocol):
    """Closed when a request's head takes too long or is too large, and when there is no room for it (unverified.py)."""

    def __init__(self, *arguments: Any, unverified: Unverified, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._unverified = unverified
        self._waiting: asyncio.TimerHandle | None = None
        self._head = 0
        self._verified = False  # the sender of the present request is known
        self._becomes_socket = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()
        self._unverified.make_room(len(self.connections))  # of another's, not its own
        self._unverified.enter(self)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._becomes_socket:
            super().handle_websocket_upgrade()
            self._let_go()
        if self._becomes_socket or self.transport.is_closing():
            return
        if not self._waiting and (self.cycle is None or self.cycle.response_complete):
            self._await_head()
        if self._waiting:
            self._head += len(data)
            if self._head > MAX_HEAD:
                self.transport.abort()

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            raise TooManyRequests  # which httptools makes a bad request
        before = self.cycle
        self.scope["extensions"] = extension(self._on_verified)
        super().on_headers_complete()
        if self.cycle is not before:  # else it asks for a WebSocket, and what comes of it is not yet known
            self._stop_waiting()

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if self.cycle and not self.cycle.response_complete:
            self._unverified.add_to_body(self, len(body))

    def handle_websocket_upgrade(self) -> None:
        """uvicorn calls it while it handles an exception, which a fault of the handshake would keep, and so this."""
        self._stop_waiting()
        self._unverified.leave(self)
        self._becomes_socket = True

    def on_response_complete(self) -> None:
        if self._verified and not self.transport.is_closing():
            self._unverified.enter(self, known=True)
        self._verified = False
        self._unverified.drop_body(self)
        super().on_response_complete()

    def timeout_keep_alive_handler(self) -> None:
        """As uvicorn's, but not waiting for a peer that does not read the last answer."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._unverified.leave(self)
        super().connection_lost(exc)
        self._let_go()

    def shutdown(self) -> None:
        if self.cycle and self.cycle.more_body and not self._verified:
            self.transport.abort()
        else:
            super().shutdown()

    def close_at_once(self) -> None:
        self.transport.abort()

    def _on_verified(self) -> None:
        self._verified = True
        self._unverified.leave(self)

    def _should_upgrade(self) -> bool:
        """A handshake has no body: a request with one is answered as any other."""
        with_body = any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers)
        return not with_body and super()._should_upgrade()

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing: it is answered as if it had not asked."""

    def _let_go(self) -> None:
        """Of what refers back to this object: else each connection's memory is kept until the next full garbage
        collection, and these are rare."""
        self.scope = self.cycle = self.parser = None  # type: ignore[assignment]
        self.pipeline.clear()

    def _await_head(self) -> None:
        self._head = 0
        self._waiting = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._waiting:
            self._waiting.cancel()
            self._waiting = None


class Socket(_Bounded, WebSocketsSansIOProtocol):
    """A WebSocket: closed when its handshake is none, the application has not accepted it in time, or it has too many
    frames."""

    _handshake: asyncio.TimerHandle | None = None
    _second, _frames = 0, 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._handshake = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._handshake:
            self._handshake.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.handshake_initiated:
            self._read(data)
        else:
            self._begin(data)

    def handle_events(self) -> None:
        second = int(self.loop.time())
        self._frames = len(self.conn.events) + (self._frames if second == self._second else 0)
        self._second = second
        super().handle_events()

    def _read(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE):
            super().data_received(data[start : start + _PIECE])
            if self._frames > MAX_FRAMES:
                log.warning("a socket was closed: too many frames")
                self.transport.abort()
            if self.transport.is_closing():
                return

    def _begin(self, head: bytes) -> None:
        super().data_received(head)
        if not self.handshake_initiated:  # uvicorn gives the whole head at once
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()

    def handle_parser_exception(self) -> None:
        """As uvicorn's, which takes the handshake for done."""
        if self.conn.close_sent:
            super().handle_parser_exception()
        else:
            self.transport.close()

    def shutdown(self) -> None:
        if not self.transport.is_closing():
            super().shutdown()

    def _give_up(self) -> None:
        if not self.handshake_complete or self.close_sent:
            self.transport.abort()
