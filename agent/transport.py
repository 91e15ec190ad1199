"""The HTTP connections to Gemini.

One httpx pool collapses at about 200 open streams: its work per read grows with the number of its connections.
So streams are spread over several pools, each filled before the next is used: a lone caller finds the first
pool's connection still warm. (Measured with 200 streams of 40 tokens at once: median of the first token 3 s with
one pool, 1 s with this.)
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import cache

import httpcore  # noqa: F401 - httpx would import it in the first request: a tenth of a second
import httpx

_STREAMS_PER_POOL = 16
_REHEARSED = (
    b'data: {"candidates":[{"content":{"parts":[{"text":"Hello."}],"role":"model"},"finishReason":"STOP","index":0}],'
    b'"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":1,"totalTokenCount":2}}\r\n\r\n'
)
_KEEPALIVE = 300.0  # seconds; a caller may think for a while, and a new connection costs a handshake


@cache
def tls_context() -> ssl.SSLContext:
    """One for all clients: reading the certificates takes tens of milliseconds."""
    return ssl.create_default_context()


class Pools(httpx.AsyncBaseTransport):
    """As many pools as the open streams need."""

    def __init__(self) -> None:
        self._tls = tls_context()
        self._pools: list[_Pool] = [_Pool(self._tls)]
        self._rehearsing = False

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Within, every request is answered from here, with one word: nothing leaves the machine."""
        self._rehearsing = True
        try:
            yield
        finally:
            self._rehearsing = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._rehearsing:
            return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=_REHEARSED)
        pool = next((pool for pool in self._pools if pool.open < _STREAMS_PER_POOL), None)
        if pool is None:
            pool = _Pool(self._tls)
            self._pools.append(pool)
        return await pool.handle_async_request(request)

    async def aclose(self) -> None:
        for pool in self._pools:
            await pool.aclose()

    def close(self) -> None:
        """Gemini's client gives its transport to a sync client as well, which is never used."""


class _Pool(httpx.AsyncHTTPTransport):
    """A pool that counts its open streams."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=4, keepalive_expiry=_KEEPALIVE)
        super().__init__(verify=tls, limits=limits)
        self.open = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.open += 1
        try:
            response = await super().handle_async_request(request)
        except BaseException:
            self.open -= 1
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - for the type
        response.stream = _Counted(response.stream, self)
        return response


class _Counted(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, pool: _Pool) -> None:
        self._stream = stream
        self._pool: _Pool | None = pool

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            yield part

    async def aclose(self) -> None:
        if self._pool:
            self._pool.open -= 1
            self._pool = None
        await self._stream.aclose()
