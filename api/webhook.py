"""`POST /api/agent`, Layercode's webhook: verify, parse, hand over, stream.

The order matters: the size first, then the signature over the raw bytes, and only then what they say.
"""

from __future__ import annotations

import hashlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from sse_starlette import EventSourceResponse
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from agent.agent import Agent, Stopping
from agent.turn import Asked, Heard, Say, Turn
from api import events, signature
from api.body import TooLarge, read_body

log = logging.getLogger(__name__)

MAX_BODY = 1024 * 1024  # bytes
_RETRY_AFTER = "5"  # seconds

# As the Node SDK has them (§4.2), without its unregistered `Content-Encoding: none`.
_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache, no-transform"}


def webhook_router(*, secret: str, agent: Callable[[], Agent], drain_seconds: float) -> APIRouter:
    """The route. `agent` gives the running agent; `drain_seconds` is how long a stream may outlive SIGTERM."""
    router = APIRouter()

    @router.post("/api/agent")
    async def webhook(request: Request) -> Response:
        try:
            body = await read_body(request, MAX_BODY)
            signature.verify(secret, request.headers.get(signature.HEADER), body, time.time())
            return await _answer(events.parse(body), body, agent(), drain_seconds)
        except TooLarge:
            return _error(413, "The body is larger than 1 MiB.")
        except ClientDisconnect:
            return _error(400, "The body is incomplete.")
        except TimeoutError:
            return _error(408, "The body took too long.")
        except signature.BadSignature as bad:
            log.warning("a webhook was refused: its signature is %s", bad.reason)
            return _error(401, "The signature is missing or wrong.")
        except events.BadWebhook as bad:
            log.warning("a webhook was refused: %s", bad)
            return _error(400, str(bad))
        except Stopping:
            return JSONResponse({"error": "Shutting down."}, 503, headers={"Retry-After": _RETRY_AFTER})

    return router


async def _answer(event: events.Webhook, body: bytes, agent: Agent, drain_seconds: float) -> Response:
    match event:
        case events.Message() | events.SessionStart():
            turn = agent.begin(asked_of(event))
            await turn.admitted.wait()  # a 200 says that the caller's words are safe
            return TurnResponse(turn, event.turn_id, drain_seconds)
        case events.Data():
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


def asked_of(event: events.Message | events.SessionStart) -> Asked:
    """The request in the agent's words. A start without a `turn_id` is nobody's duplicate."""
    text, heard = "", None
    if isinstance(event, events.Message):
        text, context = event.text.strip(), event.interruption_context
        if context and context.text_heard is not None:
            heard = Heard(context.text_heard, context.assistant_turn_id)
    return Asked(
        conversation_id=event.conversation_id,
        turn_id=event.turn_id or uuid.uuid4().hex,
        kind="message" if isinstance(event, events.Message) else "welcome",
        text=text,
        heard=heard,
        caller=event.from_phone_number,
        metadata={**event.metadata, **event.custom_metadata},
    )


class TurnResponse(EventSourceResponse):
    """A turn as SSE. No pings: whether Layercode accepts comment lines is unknown (§4.2).

    However it is left, the turn learns that this reader is gone.
    """

    def __init__(self, turn: Turn, turn_id: str | None, drain_seconds: float) -> None:
        super().__init__(
            _stream(turn, turn_id),
            headers=_HEADERS,
            ping=0,
            sep="\n",
            shutdown_grace_period=drain_seconds + 5,
        )
        self._turn = turn

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._turn.reader():
            await super().__call__(scope, receive, send)


async def _stream(turn: Turn, turn_id: str | None) -> AsyncIterator[bytes]:
    async for event in turn.stream():
        if isinstance(event, Say):
            yield events.tts(event.text, turn_id)
        else:
            yield events.data(event.data, turn_id)
    yield events.end(turn_id)


def _error(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)
