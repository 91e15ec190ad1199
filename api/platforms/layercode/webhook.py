"""`POST /api/agent`, Layercode's webhook: verify, parse, hand over, stream.

The order matters: the signature's header first, then the body up to its limit, then the signature over the raw bytes,
and only then what they say.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from agent.agent import Agent, Stopping
from agent.json_values import strip_nul
from agent.languages import tag_of
from agent.turns import HeardReport, Say, Show, TooBusy, Turn, TurnRequest
from api.operations import mark_verified
from api.platforms.body import Refused, read_body, too_large
from api.platforms.layercode import events, signature, sse
from api.platforms.layercode.openapi import WEBHOOK
from api.platforms.turn_response import TurnResponse

log = logging.getLogger(__name__)

MAX_BODY = 1024 * 1024  # bytes
MAX_DATA = 64 * 1024  # bytes of a `data` webhook: it is kept, and the model is shown the first 4,000 characters
_SMALL = 32 * 1024  # bytes that are read without a thread
_LATER = 5  # seconds


class _Route(APIRoute):
    """The endpoint takes the request and gives a response: there is nothing else to be prepared for it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return self.endpoint


def webhook_router(*, secret: str, agent: Callable[[], Agent], refused: Callable[[str], None]) -> APIRouter:
    """The route. `agent` gives the running agent. `refused` is told why a webhook was not taken, in a word or two."""
    router = APIRouter(route_class=_Route)

    def no(refusal: Refused, more: object = "") -> Response:
        refused(refusal.reason)
        kind = f"a webhook was refused: {refusal.reason}%s"  # the log counts these by their reason
        log.warning(kind, f" ({more})" if more else "")
        return refusal.response

    @router.post("/api/agent/", include_in_schema=False)
    @router.post("/api/agent", **WEBHOOK)
    async def webhook(request: Request) -> Response:
        try:
            header, now = request.headers.get(signature.HEADER), time.time()
            signature.read(header, now)
            body = await read_body(request, MAX_BODY)
            signature.verify(secret, header, body, now)
            mark_verified(request.scope)
            return await _answer(await _parsed(body), body, agent())
        except Refused as bad:
            return no(bad)
        except signature.BadSignature as bad:
            return no(Refused(401, "The signature is missing or wrong.", f"signature {bad.reason}"), bad.detail)
        except events.BadWebhook as bad:
            return no(Refused(400, str(bad), "not understood"), bad)
        except TooBusy:
            return no(Refused(503, "Too many turns are running.", "busy", _LATER), "MAX_TURNS says how many may run")
        except Stopping:
            return no(Refused(503, "Shutting down.", "stopping", _LATER))

    return router


async def _parsed(body: bytes) -> events.Webhook:
    return events.parse(body) if len(body) <= _SMALL else await asyncio.to_thread(events.parse, body)


async def _answer(event: events.Webhook, body: bytes, agent: Agent) -> Response:
    match event:
        case events.Message() | events.SessionStart():
            agent.calls.goes_on(*_call_of(event), agent.calls.times.silent)
            turn = await agent.begin(request_of(event))
            await turn.admitted.wait()  # a 200 says that the caller's words are safe
            if turn.refused:
                raise TooBusy
            return TurnResponse(turn, spoken(turn, event.turn_id))
        case events.Data():
            if len(body) > MAX_DATA:
                raise too_large(MAX_DATA)
            id_ = f"{event.turn_id}:{hashlib.sha256(body).hexdigest()[:16]}"
            await agent.note(event.conversation_id, id_, "data", event.data)
            return JSONResponse({})
        case events.SessionEnd():
            await agent.note(event.conversation_id, f"ended:{event.session_id}", "ended", event.model_dump())
            await agent.calls.over(*_call_of(event), "ended")
        case events.SessionUpdate():
            id_ = f"updated:{event.session_id}:{event.recording_status}"
            await agent.note(event.conversation_id, id_, "updated", event.model_dump())
        case events.Unknown():
            log.info("a webhook of unknown type %r was ignored", event.type[:40])
    return JSONResponse({"status": "ok"})


def _call_of(event: events.Message | events.SessionStart | events.SessionEnd) -> tuple[str, str, str]:
    """Its conversation, session and platform."""
    return strip_nul(event.conversation_id), strip_nul(event.session_id or event.conversation_id), "Layercode"


def request_of(event: events.Message | events.SessionStart) -> TurnRequest:
    """The request in the agent's words. A start without a `turn_id` is nobody's duplicate."""
    text, heard = "", None
    if isinstance(event, events.Message):
        text, context = event.text.strip(), event.interruption_context
        if context and context.text_heard is not None:
            heard = HeardReport(context.text_heard, context.assistant_turn_id and strip_nul(context.assistant_turn_id))
    metadata = {**event.metadata, **event.custom_metadata}
    return TurnRequest(
        conversation_id=strip_nul(event.conversation_id),
        turn_id=strip_nul(event.turn_id or uuid.uuid4().hex),
        kind="message" if isinstance(event, events.Message) else "welcome",
        text=text,
        heard=heard,
        caller=event.from_phone_number,
        metadata=metadata,
        language=tag_of(metadata.get("language")),
    )


async def spoken(turn: Turn, turn_id: str | None) -> AsyncIterator[bytes]:
    async for event in turn.stream():
        if isinstance(event, Say):
            yield sse.tts(event.text, turn_id)
        elif isinstance(event, Show):
            yield sse.data(event.data, turn_id)
    yield sse.end(turn_id)
