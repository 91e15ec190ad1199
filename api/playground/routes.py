"""The playground's routes: Layercode's two (protocol sheet §6, §7), and those of the page."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.websockets import WebSocket

from api.platforms import Refused, read_json
from api.playground.client import Client
from api.playground.conversation import WEBHOOKS
from api.playground.guard import LAYERCODE
from api.playground.session import Session
from api.playground.sessions import InvalidTerms, Sessions
from api.playground.state import OTHER_BACKEND, NotSaved, OwnBackend, save, state_of
from api.playground.webhooks import Backend, WebhookClient
from api.playground.wires import Wires, missing_wires

PAGE = Path(__file__).parent / "page"
_MAX_BODY = 64 * 1024  # bytes
_AUTHORIZE = f"{LAYERCODE}agents/web/authorize_session"
_WEBSOCKET = f"{LAYERCODE}agents/web/websocket"


@dataclass(frozen=True)
class PlaygroundContext:
    """What the routes share.

    backend: where webhooks are sent. api_key: the one that `authorize_session` accepts; None accepts any.
    own: this server's agent; None when the backend is another one. wires: to that agent, beside webhooks.
    """

    sessions: Sessions
    backend: Backend
    api_key: str | None
    own: OwnBackend | None
    wires: Wires | None


def playground_router(context: PlaygroundContext) -> APIRouter:
    router = APIRouter()

    @router.post(_AUTHORIZE)
    async def authorize_session(request: Request) -> Response:
        try:
            _check_bearer(request.headers.get("authorization", ""), context.api_key)
            fields = await read_json(request, _MAX_BODY)
            if not fields.get("agent_id"):
                raise Refused(400, "agent_id: field required")
            return JSONResponse(_authorized(context, fields))
        except Refused as refused:
            return refused.response

    @router.websocket(_WEBSOCKET)
    async def websocket(socket: WebSocket) -> None:
        conversation = context.sessions.find(socket.query_params.get("client_session_key", ""))
        if conversation is None:
            refused = Refused(
                401, "The session key is unknown, has been replaced by a newer one, or is over an hour old."
            )
            await socket.send_denial_response(refused.response)
            return
        await socket.accept()
        client = Client(socket, playground=socket.query_params.get("events") == "playground")
        wires = context.wires if conversation.terms.wire != WEBHOOKS else None
        wire = wires.open(conversation, client.send) if wires else WebhookClient(context.backend, conversation)
        await context.sessions.run(Session(client, conversation, wire))

    @router.post("/playground/authorize")
    async def authorize(request: Request) -> Response:
        try:
            return JSONResponse(_authorized(context, await read_json(request, _MAX_BODY)))
        except Refused as refused:
            return refused.response

    @router.get("/playground/state")
    async def state(conversation_id: str = "") -> Response:
        shown = await state_of(context.own, conversation_id) if context.own else OTHER_BACKEND
        keys = context.wires.with_keys if context.wires else []
        more = {"webhook": context.backend.public_url, "own": context.own is not None, "keys": keys}
        return JSONResponse({**shown, **more, "missing_wires": missing_wires(context.wires)})

    @router.post("/playground/save")
    async def save_run(request: Request) -> Response:
        try:
            fields = await read_json(request, _MAX_BODY)
            conversation, name = (str(fields.get(field) or "") for field in ("conversation_id", "name"))
            return JSONResponse(await save(context.own, conversation, name))
        except NotSaved as error:
            return Refused(error.status, str(error)).response
        except Refused as refused:
            return refused.response

    return router


def _check_bearer(header: str, api_key: str | None) -> None:
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Refused(400, "The Authorization header with a bearer token is missing.")
    if api_key and not hmac.compare_digest(token.strip().encode(), api_key.encode()):
        raise Refused(400, "The API key is not the LAYERCODE_API_KEY of this server.")


def _authorized(context: PlaygroundContext, fields: dict[str, Any]) -> dict[str, Any]:
    if missing := missing_wires(context.wires).get(str(fields.get("wire"))):
        raise Refused(400, missing)
    try:
        return context.sessions.authorize(fields)
    except InvalidTerms as error:
        raise Refused(400, str(error)) from None
