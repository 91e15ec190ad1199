"""`POST /api/agent`, Layercode's webhook: verify, parse, hand over, stream.

The order matters: the size first, then the signature over the raw bytes, and only then what they say.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from sse_starlette import EventSourceResponse
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from agent.agent import Agent, Stopping
from agent.json_values import strip_nul
from agent.turns import HeardReport, Say, TooBusy, Turn, TurnRequest
from api.operations.rate import Rate
from api.platforms.body import TooLarge, read_body
from api.platforms.layercode import events, signature
from api.platforms.layercode.openapi import WEBHOOK

log = logging.getLogger(__name__)

MAX_BODY = 1024 * 1024  # bytes
MAX_DATA = 64 * 1024  # bytes of a `data` webhook: it is kept, and the model is shown the first 4,000 characters
_RETRY_AFTER = "5"  # seconds
_REFUSALS_LOGGED = 60  # a minute, of each kind; /metrics has them all

# As the Node SDK has them (§4.2), without its unregistered `Content-Encoding: none`.
_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),  # nginx would collect the words first
]


class _Route(APIRoute):
    """The endpoint takes the request and gives a response: there is nothing else to be prepared for it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return self.endpoint


def webhook_router(*, secret: str, agent: Callable[[], Agent], refused: Callable[[str], None]) -> APIRouter:
    """The route. `agent` gives the running agent. `refused` is told why a webhook was not taken, in a word or two."""
    router = APIRouter(route_class=_Route)
    lines = Rate(_REFUSALS_LOGGED)

    def no(status: int, text: str, reason: str, more: object = "") -> Response:
        refused(reason)
        if not lines.wait(reason):
            log.warning("a webhook was refused: %s%s", reason, f" ({more})" if more else "")
        return JSONResponse({"error": text}, status, headers={"Retry-After": _RETRY_AFTER} if status == 503 else None)

    @router.post("/api/agent/", include_in_schema=False)
    @router.post("/api/agent", **WEBHOOK)
    async def webhook(request: Request) -> Response:
        try:
            body = await read_body(request, MAX_BODY)
            signature.verify(secret, request.headers.get(signature.HEADER), body, time.time())
            return await _answer(events.parse(body), body, agent())
        except TooLarge:
            return no(413, "The body is larger than 1 MiB, or that of a `data` webhook than 64 KiB.", "too large")
        except ClientDisconnect:
            return no(400, "The body is incomplete.", "incomplete")
        except TimeoutError:
            return no(408, "The body took too long.", "too slow")
        except signature.BadSignature as bad:
            return no(401, "The signature is missing or wrong.", f"signature {bad.reason}", bad.detail)
        except events.BadWebhook as bad:
            return no(400, str(bad), "not understood", bad)
        except TooBusy:
            return no(503, "Too many turns are running.", "busy", "MAX_TURNS says how many may run")
        except Stopping:
            return no(503, "Shutting down.", "stopping")

    return router


async def _answer(event: events.Webhook, body: bytes, agent: Agent) -> Response:
    match event:
        case events.Message() | events.SessionStart():
            turn = await agent.begin(request_of(event))
            await turn.admitted.wait()  # a 200 says that the caller's words are safe
            if turn.refused:
                raise TooBusy
            return TurnResponse(turn, event.turn_id)
        case events.Data():
            if len(body) > MAX_DATA:
                raise TooLarge
            id_ = f"{event.turn_id}:{hashlib.sha256(body).hexdigest()[:16]}"
            await agent.note(event.conversation_id, id_, "data", event.data)
            return JSONResponse({})
        case events.SessionEnd():
            await agent.note(event.conversation_id, f"ended:{event.session_id}", "ended", event.model_dump())
        case events.SessionUpdate():
            id_ = f"updated:{event.session_id}:{event.recording_status}"
            await agent.note(event.conversation_id, id_, "updated", event.model_dump())
        case events.Unknown():
            log.info("a webhook of unknown type %r was ignored", event.type[:40])
    return JSONResponse({"status": "ok"})


def request_of(event: events.Message | events.SessionStart) -> TurnRequest:
    """The request in the agent's words. A start without a `turn_id` is nobody's duplicate."""
    text, heard = "", None
    if isinstance(event, events.Message):
        text, context = event.text.strip(), event.interruption_context
        if context and context.text_heard is not None:
            heard = HeardReport(context.text_heard, context.assistant_turn_id and strip_nul(context.assistant_turn_id))
    return TurnRequest(
        conversation_id=strip_nul(event.conversation_id),
        turn_id=strip_nul(event.turn_id or uuid.uuid4().hex),
        kind="message" if isinstance(event, events.Message) else "welcome",
        text=text,
        heard=heard,
        caller=event.from_phone_number,
        metadata={**event.metadata, **event.custom_metadata},
    )


class TurnResponse(EventSourceResponse):
    """A turn as SSE. No pings: whether Layercode accepts comment lines is unknown (§4.2).

    However it is left, the turn learns that this reader is gone. The library's own `__call__` ends a stream half a
    second after SIGTERM; at our shutdown the agent ends the turn, when it has had its time, and with it this response.
    So nothing watches for signals here, and one task beside the stream waits for the caller to hang up. No task group
    either: a cancelled one leaves reference cycles behind, and their collection stops the event loop.
    """

    def __init__(self, turn: Turn, turn_id: str | None) -> None:
        super().__init__(_spoken(turn, turn_id), ping=0)
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


async def _spoken(turn: Turn, turn_id: str | None) -> AsyncIterator[bytes]:
    async for event in turn.stream():
        make, content = (events.tts, event.text) if isinstance(event, Say) else (events.data, event.data)
        yield make(content, turn_id)
    yield events.end(turn_id)


def _ends(line: asyncio.Timeout) -> Callable[[Message], Coroutine[Any, Any, None]]:
    """Whatever waits within `line` ends when the caller hangs up."""

    async def hung_up(_: Message) -> None:
        line.reschedule(0)

    return hung_up
