"""`POST /v1/chat/completions`, streamed and not, and `GET /v1/models`.

The client's system message is its platform's prompt: the agent has its own, and that one is ignored, or put behind
it.
"""

from __future__ import annotations

import asyncio
import hmac
import logging

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import ValidationError

from agent.agent import Stopping
from agent.turns import TooBusy, Turn
from api.operations import mark_verified
from api.platforms.body import Refused, read_body
from api.platforms.completions.answer import Chunks, nothing
from api.platforms.completions.request import Asked, Completion, NoConversation, asked
from api.platforms.platform import Services
from api.platforms.turn_response import TurnResponse

log = logging.getLogger(__name__)

MAX_BODY = 1024 * 1024  # bytes
MODEL = "voice-agent"
_RETRY_AFTER = {"Retry-After": "5"}
_NO_CONVERSATION = (
    "Which conversation is this? Send its id as `conversation_id`, in `metadata`, as `user`, or in the header"
    " X-Conversation-Id; Vapi's call.id is used by itself."
)


def completions_router(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1")
    key = services.settings.completions_api_key
    assert key is not None  # noqa: S101 - for the type: there are no routes without it
    appends = services.settings.completions_system_message == "append"
    stateless = services.settings.completions_stateless
    bearer = f"Bearer {key.get_secret_value()}".encode()

    def refuse(status: int, text: str, reason: str) -> Response:
        services.refused(f"completions: {reason}")
        log.warning("a request for a completion was refused: %s", reason)
        kind = "authentication_error" if status == 401 else "invalid_request_error" if status < 500 else "server_error"
        headers = _RETRY_AFTER if status == 503 else None
        return JSONResponse({"error": {"message": text, "type": kind, "param": None, "code": None}}, status, headers)

    def is_let_in(request: Request) -> bool:
        right = hmac.compare_digest(request.headers.get("authorization", "").encode(), bearer)
        if right:
            mark_verified(request.scope)
        return right

    @router.get("/models")
    async def models(request: Request) -> Response:
        if not is_let_in(request):
            return refuse(401, "The API key is missing or wrong.", "key")
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "you"}
        return JSONResponse({"object": "list", "data": [model]})

    @router.post("/chat/completions")
    async def completions(request: Request) -> Response:
        if not is_let_in(request):
            return refuse(401, "The API key is missing or wrong.", "key")
        try:
            body = Completion.model_validate_json(await read_body(request, MAX_BODY))
            turn_request = asked(body, request.headers, appends=appends, stateless=stateless)
            return await _answer(services, request, turn_request, body)
        except Refused as bad:
            return refuse(bad.status, bad.text, bad.reason)
        except ValidationError as error:
            places = sorted({".".join(map(str, fault["loc"])) or "body" for fault in error.errors()})
            return refuse(400, f"Not a chat completions request: {', '.join(places[:5])}.", "not understood")
        except NoConversation:
            return refuse(400, _NO_CONVERSATION, "no conversation")
        except TooBusy:
            return refuse(503, "Too many turns are running.", "busy")
        except Stopping:
            return refuse(503, "Shutting down.", "stopping")

    return router


async def _answer(services: Services, request: Request, asked: Asked, body: Completion) -> Response:
    agent = services.agent()
    if not asked.request.stateless:
        agent.calls.goes_on(asked.request.conversation_id, "", "chat completions", agent.calls.times.idle)
    chunks = Chunks(body.model or MODEL, asked.tools)
    if asked.after_tool:
        if body.stream:
            return StreamingResponse(chunks.stream(nothing()), media_type="text/event-stream")
        return JSONResponse(await chunks.whole(nothing()))
    turn = await agent.begin(asked.request)
    await turn.admitted.wait()  # a 200 says that the caller's words are safe
    if turn.refused:
        raise TooBusy
    if body.stream:
        return TurnResponse(turn, chunks.stream(turn.stream()))
    with turn.reader():
        return await _whole(request, turn, chunks)


async def _whole(request: Request, turn: Turn, chunks: Chunks) -> Response:
    """The answer in one object, unless the client hangs up first: then the turn has lost its reader."""
    made, gone = asyncio.create_task(chunks.whole(turn.stream())), asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait([made, gone], return_when=asyncio.FIRST_COMPLETED)
        return JSONResponse(made.result()) if made.done() else Response(status_code=499)
    finally:
        made.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
