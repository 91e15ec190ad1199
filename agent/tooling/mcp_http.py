"""HTTP to MCP servers. What one of them sends is read whole and in the event loop, so a message has a limited size."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx

from agent.tls import tls_context

MAX_MESSAGE = 1024 * 1024  # bytes
_ENDS = (b"\n\n", b"\r\r", b"\r\n\r\n")  # of an event
_PLAIN = {"Accept-Encoding": "identity"}  # a compressed answer can be a thousand times larger than what is sent


class TooLarge(httpx.TransportError):
    """A message of more than MAX_MESSAGE, or one that could become so."""


def bounded_client(headers: Any = None, timeout: Any = None, auth: Any = None) -> httpx.AsyncClient:
    """A client for one server. TooLarge is raised while an answer is read. It follows no redirect, as that may lead to
    an address within this network. The certificates are read once, not at each attempt."""
    return httpx.AsyncClient(
        headers={**(headers or {}), **_PLAIN},
        timeout=timeout,
        auth=auth,
        verify=tls_context(),
        event_hooks={"response": [_bound]},
    )


async def _bound(response: httpx.Response) -> None:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise TooLarge("an answer is compressed, though none was asked for that is")
    assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - for the type: the client is asynchronous
    has_events = response.headers.get("content-type", "").startswith("text/event-stream")
    response.stream = _Bounded(response.stream, has_events=has_events)


class _Bounded(httpx.AsyncByteStream):
    """has_events: each of them is a message, and there may be any number."""

    def __init__(self, stream: httpx.AsyncByteStream, *, has_events: bool) -> None:
        self._stream = stream
        self._has_events = has_events

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size, tail = 0, b""
        async for chunk in self._stream:
            size += len(chunk)
            if size > MAX_MESSAGE:
                raise TooLarge(f"a message is larger than {MAX_MESSAGE} bytes")
            if self._has_events:
                seen = tail + chunk
                tail = seen[-3:]
                end = max(seen.rfind(mark) + len(mark) if mark in seen else 0 for mark in _ENDS)
                size = min(size, len(seen) - end) if end else size
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
