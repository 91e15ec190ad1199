"""A turn as a stream of server-sent events, until it ends or the caller hangs up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any

from sse_starlette import EventSourceResponse
from starlette.types import Message, Receive, Scope, Send

from agent.turns import Turn

# As Layercode's Node SDK has them (protocol sheet §4.2), without its unregistered `Content-Encoding: none`.
_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),  # nginx would collect the words first
]


class TurnResponse(EventSourceResponse):
    """A turn as SSE. content: its events in the platform's words. No pings: not every client skips comment lines.

    However it is left, the turn learns that this reader is gone. The library's own `__call__` ends a stream half a
    second after SIGTERM; at our shutdown the agent ends the turn, when it has had its time, and with it this response.
    So nothing watches for signals here, and one task beside the stream waits for the caller to hang up. No task group
    either: a cancelled one leaves reference cycles behind, and their collection stops the event loop.
    """

    def __init__(self, turn: Turn, content: AsyncIterator[bytes]) -> None:
        super().__init__(content, ping=0)
        self.raw_headers = list(_HEADERS)
        self._turn = turn

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._turn.reader(), suppress(TimeoutError):
            async with asyncio.timeout(None) as line:
                self.client_close_handler_callable = _ends(line)
                listening = asyncio.create_task(self._listen_for_disconnect(receive))
                try:
                    await self._stream_response(send)
                finally:
                    listening.cancel()

    async def _send_with_timeout(self, send: Send, message: Message) -> None:
        """The library opens a cancel scope for each event, which costs more than sending it. Here no send is timed."""
        await send(message)


def _ends(line: asyncio.Timeout) -> Callable[[Message], Coroutine[Any, Any, None]]:
    """Whatever waits within `line` ends when the caller hangs up."""

    async def hung_up(_: Message) -> None:
        line.reschedule(0)

    return hung_up
