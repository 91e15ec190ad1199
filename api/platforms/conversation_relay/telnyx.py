"""Telnyx: the same calls over the same frames, at `/telnyx/…/TOKEN`.

No signature of its handshake is documented, so a token in the path says that it is Telnyx: TELNYX_TOKEN, a secret of
your own, which stands in the URLs that you give to Telnyx.
"""

from __future__ import annotations

import hmac
import logging

from fastapi import APIRouter, Request, Response, WebSocket
from starlette.requests import HTTPConnection

from api.operations import mark_verified
from api.platforms.conversation_relay import twiml
from api.platforms.conversation_relay.forms import read_form
from api.platforms.conversation_relay.public_url import public_url
from api.platforms.conversation_relay.socket import call_over, serve_call
from api.platforms.platform import Services
from api.platforms.sockets import POLICY_VIOLATION

log = logging.getLogger(__name__)


def telnyx_router(services: Services) -> APIRouter:
    settings = services.settings
    assert settings.telnyx_token is not None  # noqa: S101 - for the type: there are no routes without it
    secret = settings.telnyx_token.get_secret_value()
    router = APIRouter(prefix="/telnyx")

    def is_right(connection: HTTPConnection, token: str) -> bool:
        right = hmac.compare_digest(token.encode(), secret.encode())
        if right:
            mark_verified(connection.scope)
        else:
            services.refused("telnyx: token")
            log.warning("Telnyx: a request was refused, the token in its path is not TELNYX_TOKEN")
        return right

    @router.post("/voice/{token}")
    async def voice(request: Request, token: str) -> Response:
        """A call comes in."""
        if not is_right(request, token):
            return Response(status_code=403)
        base = public_url(request, settings.public_url, "ws").partition("/telnyx/")[0]
        return twiml.connect(f"{base}/telnyx/relay/{token}", f"/telnyx/ended/{token}", settings.relay_options)

    @router.websocket("/relay/{token}")
    async def relay(socket: WebSocket, token: str) -> None:
        if is_right(socket, token):
            await serve_call(socket, services, "Telnyx")
        else:
            await socket.close(POLICY_VIOLATION)

    @router.post("/ended/{token}")
    async def ended(request: Request, token: str) -> Response:
        """The relay has left the call: what now?"""
        if not is_right(request, token):
            return Response(status_code=403)
        fields = await read_form(request)
        await call_over(services, fields, "Telnyx")
        return twiml.after_relay(fields.get("HandoffData", ""))

    return router
