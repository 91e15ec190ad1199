"""The HTTP connections to Gemini: aiohttp's, behind httpx's interface, which Gemini's client takes.

Chosen by measurement: 200 streams of 40 tokens at once on one core, CPU per stream and median of the first token:

    aiohttp                              1.2 ms     3 ms
    httpx, a pool for each 16 streams    2.3 ms    85 ms
    httpx2                               3.4 ms   109 ms
    one httpx client                      19 ms   1.2 s

The environment's proxies are used (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY), read when a server is first asked;
aiohttp itself would look for them, and in ~/.netrc, at every request. SSL_CERT_FILE is OpenSSL's affair (agent/tls.py).

There is no time limit but that on connecting, unless a request has some: whoever asks has a deadline. What goes
wrong is raised as httpx does (ConnectError, ReadError, RemoteProtocolError), so that nobody has to know what is
underneath.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpcore  # noqa: F401 - httpx would import it in the first request: a tenth of a second
import httpx
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from agent.llm.gemini.events import UniformEvents
from agent.tls import tls_context

_CONNECT = 10.0  # seconds
_KEEPALIVE = 300.0  # seconds; a caller may think for a while, and a new connection costs a handshake
_NOT_OURS = ("accept-encoding", "connection", "content-length", "host")  # aiohttp's affair
_NOT_THEIRS = ("content-encoding", "content-length", "transfer-encoding")  # settled when the body gets there
_is_new: ContextVar[bool] = ContextVar("is_new")  # whether this task's request has made its connection


# One word, as Gemini sends it.
HELLO = (
    b'data: {"candidates":[{"content":{"parts":[{"text":"Hello."}],"role":"model"},"finishReason":"STOP","index":0}],'
    b'"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":1,"totalTokenCount":2}}\r\n\r\n'
)


@dataclass
class Answered:
    """What requests are answered with instead of being sent, and the requests."""

    status: int
    headers: dict[str, str]
    content: bytes
    requests: list[httpx.Request] = field(default_factory=list)


class Transport(httpx.AsyncBaseTransport):
    """As many connections as there are open streams, kept for those to come."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._server: httpx.URL | None = None
        self._proxies: dict[URL, URL | None] = {}
        self._answered: ContextVar[Answered | None] = ContextVar("answered", default=None)

    @contextmanager
    def answering(
        self, content: bytes = HELLO, status: int = 200, content_type: str = "text/event-stream"
    ) -> Iterator[Answered]:
        """Within, this task's requests are answered from here: nothing leaves the machine."""
        answered = Answered(status, {"Content-Type": content_type}, content)
        token = self._answered.set(answered)
        try:
            yield answered
        finally:
            self._answered.reset(token)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._server = self._server or request.url.join("/")
        if answered := self._answered.get():
            answered.requests.append(request)
            content = answered.content
            if _has_events(answered.headers):
                content = (events := UniformEvents()).feed(content) + events.end()
            return httpx.Response(answered.status, headers=answered.headers, content=content, request=request)
        headers = [(name, value) for name, value in request.headers.multi_items() if name not in _NOT_OURS]
        url, content, limits = URL(str(request.url), encoded=True), await request.aread(), _limits(request)
        with _as_httpx():
            response = await self._send(
                request.method, url, headers=headers, data=content, timeout=limits, allow_redirects=False
            )
        kept = [(name, value) for name, value in response.headers.items() if name.lower() not in _NOT_THEIRS]
        body = _Events(response) if _has_events(response.headers) else _Body(response)
        return httpx.Response(response.status, headers=kept, stream=body, request=request)

    async def _send(self, method: str, url: URL, **more: Any) -> aiohttp.ClientResponse:
        """Until it goes out on a connection that lives. Servers close those that have been idle, all of them at about
        the same time, and it may be that this has not been noticed here yet."""
        while True:
            _is_new.set(False)
            try:
                return await self._open().request(method, url, proxy=self._proxy_for(url), **more)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if _is_new.get():
                    raise

    async def warm(self) -> None:
        """Have a connection open to the server that the first request was for. Whether that works is no matter yet."""
        if self._server:
            with suppress(aiohttp.ClientError, TimeoutError):
                url, limit = URL(str(self._server)), aiohttp.ClientTimeout(_CONNECT)
                async with self._open().head(url, proxy=self._proxy_for(url), timeout=limit):
                    pass

    async def aclose(self) -> None:
        if self._session:
            await self._session.close()
            self._session = None
            await asyncio.sleep(0)  # closed connections are gone one step later

    def close(self) -> None:
        """Gemini's client gives its transport to a sync client as well, which is never used."""

    def _proxy_for(self, url: URL) -> URL | None:
        origin = url.origin()
        if origin not in self._proxies:
            self._proxies[origin] = _proxy_of(origin)
        return self._proxies[origin]

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=_Connector(limit=0, keepalive_timeout=_KEEPALIVE, ssl=tls_context()),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept-Encoding": "identity"},  # nothing to unpack between a token and the ear
            )
        return self._session


class _Connector(aiohttp.TCPConnector):
    async def _create_connection(self, *request: Any) -> ResponseHandler:
        """In no turn's context: the event loop keeps that in which a connection was made, as long as it is open, and
        with it all of the turn, a quarter of a megabyte."""
        _is_new.set(True)
        making = asyncio.create_task(super()._create_connection(*request), context=Context())
        try:
            return await making
        except asyncio.CancelledError:
            if making.done() and not (making.cancelled() or making.exception()):
                making.result().close()  # it was made at this very moment, and nobody has it
            raise


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """What has come, as soon as something has."""
        with _as_httpx():
            async for data in self._response.content.iter_any():
                yield data

    async def aclose(self) -> None:
        self._response.close()


class _Events(_Body):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        events = UniformEvents()
        async for data in super().__aiter__():
            if uniform := events.feed(data):
                yield uniform
        yield events.end()


def _has_events(headers: Mapping[str, str]) -> bool:
    return headers.get("Content-Type", "").startswith("text/event-stream")


def _limits(request: httpx.Request) -> aiohttp.ClientTimeout:
    limits = request.extensions.get("timeout", {})
    return aiohttp.ClientTimeout(
        total=None, sock_connect=limits.get("connect") or _CONNECT, sock_read=limits.get("read")
    )


def _proxy_of(origin: URL) -> URL | None:
    """What the environment names for a server, as httpx reads it."""
    proxies = getproxies()
    named = proxies.get(origin.scheme) or proxies.get("all")
    around = {name.strip() for name in proxies.get("no", "").split(",")}
    if not named or "*" in around or proxy_bypass(origin.host or ""):
        return None
    return URL(named if "://" in named else f"http://{named}")


@contextmanager
def _as_httpx() -> Iterator[None]:
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise httpx.ConnectTimeout(str(error)) from error
    except aiohttp.ServerTimeoutError as error:
        raise httpx.ReadTimeout(str(error)) from error
    except aiohttp.ClientConnectorError as error:
        raise httpx.ConnectError(str(error)) from error
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, aiohttp.ClientResponseError) as error:
        raise httpx.RemoteProtocolError(str(error)) from error
    except aiohttp.ClientError as error:
        raise httpx.ReadError(str(error)) from error
