"""Sends signed webhooks to a backend and reads the responses, as Layercode does (protocol sheet §2 to §4).

A request that fails raises WebhookFailed, with a sentence for the developer who uses the page.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from agent.json_values import replace_surrogates
from agent.tls import tls_context
from api.platforms import json_object
from api.platforms.layercode import compact_json, signature, signed_headers
from api.playground.conversation import Conversation

_TIMEOUT = httpx.Timeout(120, connect=5)  # seconds between two pieces of a response
_MAX_SIZE = 1024 * 1024  # bytes of an event, or of a JSON response
_MAX_COMPARED = 1024 * 1024  # bytes of a stream that a duplicate is compared with
_END_SECONDS = 1.0  # within which two readers of one stream see its end
_RESERVED_HEADERS = {"host", "content-length", "transfer-encoding", "connection", "content-type", signature.HEADER}


class WebhookFailed(Exception):
    """The text is one or two sentences: what happened, and what to do."""


@dataclass(frozen=True)
class Backend:
    """The backend that webhooks are sent to. secret: signs them. http: sends them."""

    url: str
    secret: str
    http: httpx.AsyncClient

    @property
    def public_url(self) -> str:
        """Its URL without a password."""
        return without_password(self.url)


@dataclass
class WebhookRequest:
    """A webhook's body, and the state of its response.

    status: 0 before the response. raw: the bytes received. complete: whether they include `response.end`. reached: set
    when the backend has begun to respond, or the request has failed. done: set at the end of the response.
    skip_delay: set it to end a simulated delay. text: the caller's words; None at the start of a session.
    digits: keys that the caller presses in place of words, over another platform's wire.
    """

    body: bytes
    status: int = 0
    raw: bytearray = field(default_factory=bytearray)
    complete: bool = False
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    skip_delay: asyncio.Event = field(default_factory=asyncio.Event)
    text: str | None = None
    digits: str = ""


def http_client() -> httpx.AsyncClient:
    """A client without proxies, because backends are local, and without keep-alive, which some backends close early."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    return httpx.AsyncClient(timeout=_TIMEOUT, limits=limits, trust_env=False, verify=tls_context())


class WebhookClient:
    """Sends the webhooks of one session."""

    def __init__(self, backend: Backend, conversation: Conversation) -> None:
        self._backend = backend
        self._terms = conversation.terms
        self._ids = {"session_id": f"sess_{uuid.uuid4().hex}", "conversation_id": conversation.id}
        self._duplicates: set[asyncio.Task[object]] = set()
        self._last: WebhookRequest | None = None  # that `stream` sent

    def request(self, type_: str, turn_id: str, **fields: Any) -> WebhookRequest:
        """A webhook that is answered by a stream. WebhookFailed when it cannot be sent as JSON."""
        return WebhookRequest(encoded(self._body(type_, turn_id=turn_id, **fields)), text=fields.get("text"))

    def _body(self, type_: str, **fields: Any) -> dict[str, Any]:
        """A webhook's body: its type, the ids, what the terms add, and `fields`."""
        terms = self._terms
        optional = {
            "from_phone_number": terms.from_phone_number,
            "to_phone_number": terms.to_phone_number,
            "custom_metadata": terms.custom_metadata,
            "metadata": terms.metadata,
        }
        given = {name: value for name, value in optional.items() if value}
        return {"type": type_, **self._ids, **given, **fields}

    async def stream(self, request: WebhookRequest) -> AsyncGenerator[dict[str, Any]]:
        """Send the request and yield the events of the response, up to and including `response.end`."""
        self._last = request
        try:
            async with self._sent(request) as response:
                kind = response.headers.get("content-type", "nothing")
                if not kind.startswith("text/event-stream"):
                    raise WebhookFailed(f"The backend answered with {kind[:60]}, not with text/event-stream.")
                async with aclosing(_events(response, request.raw)) as events:
                    async for event in events:
                        request.complete = event.get("type") == "response.end"
                        yield event
                        if request.complete:
                            return
        finally:
            request.reached.set()
            request.done.set()
        raise WebhookFailed("The stream ended without response.end: the backend must send it last on every path.")

    async def interrupted(self, heard: str) -> None:
        """What was heard is told by the next message."""
        self._cancel_duplicates()

    async def send_data(self, turn_id: str, data: Any) -> Any:
        """Send the page's data: what the backend answers as JSON, None when it is something else."""
        return await self._request_json(self._body("data", turn_id=turn_id, data=data))

    async def repeat_last(self) -> tuple[int, bool]:
        """As `_repeat`. WebhookFailed when nothing was sent yet."""
        if self._last is None:
            raise WebhookFailed("There is nothing yet to send again.")
        return await self._repeat(self._last)

    async def end(self, **fields: Any) -> None:
        """Send `session.end`, and `session.update` if the terms ask for one."""
        recording = self._terms.faults.recording
        status = "enabled" if recording else "disabled"
        end = self._body("session.end", agent_id=self._terms.agent_id, recording_status=status, **fields)
        await self._request_json(end)
        if recording:
            failed = {"recording_status": "failed", "error_message": "The local stand-in records nothing."}
            await self._request_json(self._body("session.update", **{"metadata": self._terms.metadata, **failed}))

    async def close(self) -> None:
        self._cancel_duplicates()

    async def _request_json(self, body: Mapping[str, Any]) -> Any:
        """Send a webhook whose response is JSON, and return that; None when it is something else."""
        async with self._sent(WebhookRequest(encoded(body))) as response:
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > _MAX_SIZE:
                    raise WebhookFailed("The backend's answer is larger than 1 MiB, so it was dropped.")
        try:
            return json.loads(content.decode())
        except (ValueError, RecursionError):
            return None

    async def _repeat(self, request: WebhookRequest) -> tuple[int, bool]:
        """Send the same body with a new signature. Returns the status, and whether the response has the same bytes.

        When the first response was cancelled, only the bytes received by then are compared.
        """
        again = WebhookRequest(request.body)
        try:
            async with (
                self._sent(again, may_duplicate=False) as response,
                aclosing(_events(response, again.raw)) as events,
            ):
                async for event in events:
                    if event.get("type") == "response.end":
                        break
        except WebhookFailed:
            return again.status, False
        with suppress(TimeoutError):
            await asyncio.wait_for(request.done.wait(), _END_SECONDS)
        same = again.raw == request.raw if request.complete else again.raw.startswith(request.raw)
        return again.status, same and request.status in (again.status, 0)  # 0: it was cancelled before its response

    def _cancel_duplicates(self) -> None:
        for duplicate in self._duplicates:
            duplicate.cancel()

    @asynccontextmanager
    async def _sent(self, request: WebhookRequest, *, may_duplicate: bool = True) -> AsyncIterator[httpx.Response]:
        if may_duplicate and random.random() < self._terms.faults.duplicates:  # noqa: S311 - simulates faults
            duplicate = asyncio.create_task(self._repeat(request))
            self._duplicates.add(duplicate)
            duplicate.add_done_callback(self._duplicates.discard)
        await self._delay(request)
        headers = {
            name: value for name, value in self._terms.custom_headers.items() if name.lower() not in _RESERVED_HEADERS
        }
        headers |= signed_headers(self._backend.secret, request.body)
        try:
            url, http = self._backend.url, self._backend.http
            async with http.stream("POST", url, content=request.body, headers=headers) as response:
                request.status = response.status_code
                request.reached.set()
                if response.status_code != 200:
                    raise WebhookFailed(_bad_status(response.status_code))
                yield response
        except httpx.ConnectError as error:
            raise WebhookFailed(_connect_failed(self._backend.public_url, error)) from None
        except httpx.TimeoutException:
            raise WebhookFailed("The backend has sent nothing for a long time, so the turn was given up.") from None
        except httpx.HTTPError:
            raise WebhookFailed("The connection to the backend broke in mid-answer. Its log may say why.") from None

    async def _delay(self, request: WebhookRequest) -> None:
        low, high = self._terms.faults.delay_ms
        if high:
            with suppress(TimeoutError):
                await asyncio.wait_for(request.skip_delay.wait(), random.uniform(low, high) / 1000)  # noqa: S311


def encoded(body: Mapping[str, Any]) -> bytes:
    """The body as it is sent."""
    try:
        return replace_surrogates(compact_json(body)).encode()
    except (ValueError, RecursionError):
        raise WebhookFailed("That cannot be sent on as JSON, so it was dropped.") from None


async def _events(response: httpx.Response, raw: bytearray) -> AsyncGenerator[dict[str, Any]]:
    """Yield each server-sent event. The bytes are added to `raw`, up to a limit."""
    rest, data = b"", b""
    async for chunk in response.aiter_bytes():
        raw += chunk[: _MAX_COMPARED - len(raw)]
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
        if len(rest) + len(data) > _MAX_SIZE:
            raise WebhookFailed("The backend sent an event larger than 1 MiB, so the turn was given up.")


def _connect_failed(url: str, error: BaseException | None) -> str:
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


def _bad_status(status: int) -> str:
    if status == 401:
        return (
            "The backend refused the signature (401): its secret is another than this server's"
            " LAYERCODE_WEBHOOK_SECRET. Give both the same one, and start them again."
        )
    if status in (404, 405):
        return f"The backend has no webhook at that address ({status}). Check the path of --webhook."
    return f"The backend answered {status}. Its log may say why."
