"""The stand-in's side of the webhook: signed requests to a backend, and its answers (protocol sheet §2 to §4).

Every failure is a WebhookFailed, in a sentence for the developer who looks at the page.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from agent.json_values import replace_surrogates
from agent.tls import tls_context
from api.platforms.body import json_object
from api.platforms.layercode import signature
from api.playground.conversation import Conversation

_PATIENCE = httpx.Timeout(120, connect=5)  # seconds between two pieces of an answer
_MOST = 1024 * 1024  # bytes of an event, or of a plain answer
_KEPT = 1024 * 1024  # bytes of a stream that a duplicate is compared with
_AT_ONCE = 1.0  # seconds within which two readers of one stream see its end
_OURS = {"host", "content-length", "transfer-encoding", "connection", "content-type", signature.HEADER}


class WebhookFailed(Exception):
    """The text is one or two sentences: what happened, and what to do."""


@dataclass(frozen=True)
class Backend:
    """Where webhooks go, and what they are signed with."""

    url: str
    secret: str
    http: httpx.AsyncClient

    @property
    def shown(self) -> str:
        """Its URL, without a password that may be in it."""
        return without_password(self.url)


@dataclass
class Request:
    """A webhook that is sent, maybe more than once. raw: the bytes that came. whole: whether those are all there are.
    reached: set when the backend has begun to answer, or will not; done: when it has ended. hurry: to be set when it
    shall not be delayed any more."""

    body: bytes
    status: int = 0
    raw: bytearray = field(default_factory=bytearray)
    whole: bool = False
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)


def http_client() -> httpx.AsyncClient:
    """Without proxies, as backends are near; and without connections kept open, as some backends close them early."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    return httpx.AsyncClient(timeout=_PATIENCE, limits=limits, trust_env=False, verify=tls_context())


class Webhooks:
    """Those of one session. `last` is the newest that was answered with a stream."""

    def __init__(self, backend: Backend, conversation: Conversation) -> None:
        self._backend = backend
        self._terms = conversation.terms
        self._ids = {"session_id": f"sess_{uuid.uuid4().hex}", "conversation_id": conversation.id}
        self._copies: set[asyncio.Task[object]] = set()
        self.last: Request | None = None

    def body(self, type_: str, **fields: Any) -> dict[str, Any]:
        """What every webhook has, and these fields."""
        terms = self._terms
        extras = {
            "from_phone_number": terms.from_phone_number,
            "to_phone_number": terms.to_phone_number,
            "custom_metadata": terms.custom_metadata,
            "metadata": terms.metadata,
        }
        given = {name: value for name, value in extras.items() if value}
        return {"type": type_, **self._ids, **given, **fields}

    async def stream(self, request: Request) -> AsyncGenerator[dict[str, Any]]:
        """Send it; every event of the answer, to its `response.end`."""
        self.last = request
        try:
            async with self._sent(request) as response:
                kind = response.headers.get("content-type", "nothing")
                if not kind.startswith("text/event-stream"):
                    raise WebhookFailed(f"The backend answered with {kind[:60]}, not with text/event-stream.")
                async with aclosing(_events(response, request.raw)) as events:
                    async for event in events:
                        request.whole = event.get("type") == "response.end"
                        yield event
                        if request.whole:
                            return
        finally:
            request.reached.set()
            request.done.set()
        raise WebhookFailed("The stream ended without response.end: the backend must send it last on every path.")

    async def ask(self, body: Mapping[str, Any]) -> Any:
        """Send one that is answered with JSON; None when it was answered with something else."""
        async with self._sent(Request(encoded(body))) as response:
            answer = bytearray()
            async for chunk in response.aiter_bytes():
                answer += chunk
                if len(answer) > _MOST:
                    raise WebhookFailed("The backend's answer is larger than 1 MiB, so it was dropped.")
        try:
            return json.loads(answer.decode())
        except (ValueError, RecursionError):
            return None

    async def repeat(self, request: Request) -> tuple[int, bool]:
        """Send the same body, signed anew: the status, and whether the same bytes came back, as far as it is known."""
        again = Request(request.body)
        try:
            async with self._sent(again, copies=False) as response, aclosing(_events(response, again.raw)) as events:
                async for event in events:
                    if event.get("type") == "response.end":
                        break
        except WebhookFailed:
            return again.status, False
        with suppress(TimeoutError):
            await asyncio.wait_for(request.done.wait(), _AT_ONCE)
        same = again.raw == request.raw if request.whole else again.raw.startswith(request.raw)
        return again.status, same and request.status in (again.status, 0)  # 0: it was dropped before

    def drop_copies(self) -> None:
        for copy in self._copies:
            copy.cancel()

    @asynccontextmanager
    async def _sent(self, request: Request, *, copies: bool = True) -> AsyncIterator[httpx.Response]:
        if copies and random.random() < self._terms.trial.duplicates:  # noqa: S311 - to annoy, not to protect
            copy = asyncio.create_task(self.repeat(request))
            self._copies.add(copy)
            copy.add_done_callback(self._copies.discard)
        await self._delay(request)
        headers = {name: value for name, value in self._terms.custom_headers.items() if name.lower() not in _OURS}
        headers[signature.HEADER] = signature.sign(self._backend.secret, request.body, int(time.time()))
        headers["Content-Type"] = "application/json"
        try:
            url, http = self._backend.url, self._backend.http
            async with http.stream("POST", url, content=request.body, headers=headers) as response:
                request.status = response.status_code
                request.reached.set()
                if response.status_code != 200:
                    raise WebhookFailed(_refused(response.status_code))
                yield response
        except httpx.ConnectError as error:
            raise WebhookFailed(_unreached(self._backend.shown, error)) from None
        except httpx.TimeoutException:
            raise WebhookFailed("The backend has sent nothing for a long time, so the turn was given up.") from None
        except httpx.HTTPError:
            raise WebhookFailed("The connection to the backend broke in mid-answer. Its log may say why.") from None

    async def _delay(self, request: Request) -> None:
        low, high = self._terms.trial.delay_ms
        if high:
            with suppress(TimeoutError):
                await asyncio.wait_for(request.hurry.wait(), random.uniform(low, high) / 1000)  # noqa: S311


def encoded(body: Mapping[str, Any]) -> bytes:
    """Compact and raw UTF-8: backends that verify what they have parsed and written again survive it (§3)."""
    try:
        text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        raise WebhookFailed("That cannot be sent on as JSON, so it was dropped.") from None
    return replace_surrogates(text).encode()


async def _events(response: httpx.Response, raw: bytearray) -> AsyncGenerator[dict[str, Any]]:
    """Each server-sent event. What came is kept in `raw`, up to a limit."""
    rest, data = b"", b""
    async for chunk in response.aiter_bytes():
        raw += chunk[: _KEPT - len(raw)]
        *lines, rest = (rest + chunk).split(b"\n")
        for line in (line.removesuffix(b"\r") for line in lines):
            if line.startswith(b"data:"):
                data += (b"\n" if data else b"") + line.removeprefix(b"data:").removeprefix(b" ")
            elif not line and data:
                event = json_object(data)
                if event is None:
                    raise WebhookFailed("The backend sent an event that is no JSON object, so the turn ends here.")
                yield event
                data = b""
        if len(rest) + len(data) > _MOST:
            raise WebhookFailed("The backend sent an event larger than 1 MiB, so the turn was given up.")


def _unreached(url: str, error: BaseException | None) -> str:
    while error and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    if error:
        return (
            f"There is no TLS connection to {url}: its certificate is not trusted here, or it is no https at all."
            " Use http for a backend on this machine, or name its authority's certificate in SSL_CERT_FILE."
        )
    return f"Nothing answers at {url}. Start the backend, or give its address."


def without_password(url: str) -> str:
    return str(httpx.URL(url).copy_with(userinfo=b""))


def _refused(status: int) -> str:
    if status == 401:
        return (
            "The backend refused the signature (401): its secret is another than this server's"
            " LAYERCODE_WEBHOOK_SECRET. Give both the same one, and start them again."
        )
    if status in (404, 405):
        return f"The backend has no webhook at that address ({status}). Check the path of --webhook."
    return f"The backend answered {status}. Its log may say why."
