"""Twilio: `POST /twilio/voice` answers a call with TwiML that connects it to `WS /twilio/relay`, and
`POST /twilio/ended` says what becomes of it afterwards.

Every request and the handshake are signed with the account's auth token over the public URL: PUBLIC_URL, or the one
that a proxy's X-Forwarded-Proto and -Host tell. Whoever forges those headers still has no signature.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from fastapi import APIRouter, Request, Response, WebSocket
from starlette.requests import HTTPConnection
from twilio.request_validator import RequestValidator

from api.operations import mark_verified
from api.platforms.conversation_relay import twiml
from api.platforms.conversation_relay.forms import read_form
from api.platforms.conversation_relay.public_url import public_url
from api.platforms.conversation_relay.socket import call_over, serve_call
from api.platforms.platform import Services
from api.platforms.sockets import POLICY_VIOLATION
from api.settings import Settings

log = logging.getLogger(__name__)

_HEADER = "x-twilio-signature"
_SIGNATURE = re.compile(r"[A-Za-z0-9+/]{27}=")  # 20 bytes


def twilio_router(services: Services) -> APIRouter:
    settings = services.settings
    validator = RequestValidator(_token(settings))
    router = APIRouter(prefix="/twilio")

    def is_signed(connection: HTTPConnection, scheme: str, fields: Mapping[str, str]) -> bool:
        url = public_url(connection, settings.public_url, scheme)
        try:
            signed: bool = validator.validate(url, dict(fields), connection.headers.get(_HEADER, ""))
        except ValueError:  # a host or port that is none
            signed = False
        if signed:
            mark_verified(connection.scope)
        else:
            services.refused("twilio: signature")
            log.warning("Twilio: a request was refused, its signature is not one for the URL that this server sees")
        return signed

    @router.post("/voice")
    async def voice(request: Request) -> Response:
        """A call comes in."""
        if not is_signed(request, "http", await _fields_of(request)):
            return Response(status_code=403)
        base = public_url(request, settings.public_url, "ws").partition("/twilio/")[0]
        return twiml.connect(f"{base}/twilio/relay", "/twilio/ended", settings.relay_options)

    @router.websocket("/relay")
    async def relay(socket: WebSocket) -> None:
        if is_signed(socket, "ws", {}):
            await serve_call(socket, services, "Twilio")
        else:
            await socket.close(POLICY_VIOLATION)

    @router.post("/ended")
    async def ended(request: Request) -> Response:
        """The relay has left the call: what now?"""
        fields = await _fields_of(request)
        if not is_signed(request, "http", fields):
            return Response(status_code=403)
        await call_over(services, fields, "Twilio")
        return twiml.after_relay(fields.get("HandoffData", ""))

    return router


async def _fields_of(request: Request) -> dict[str, str]:
    """The form. None of its fields where there is no signature: then nothing has to be read."""
    return await read_form(request) if _SIGNATURE.fullmatch(request.headers.get(_HEADER, "")) else {}


def _token(settings: Settings) -> str:
    assert settings.twilio_auth_token is not None  # noqa: S101 - for the type: there are no routes without it
    return settings.twilio_auth_token.get_secret_value()
