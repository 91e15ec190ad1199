"""`POST /elevenlabs/token`: a token with which a page begins a conversation, while the API key stays here.

200  {"token": …}
403  AUTHORIZE_HOOK says no
429  this address has asked too often
502  ElevenLabs cannot be reached, or refuses
503  ELEVENLABS_ENGINE_ID is not set, or AUTHORIZE_HOOK failed
"""

from __future__ import annotations

import logging
import math
from typing import Any

import httpx
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from api.operations import Rate, network_of
from api.platforms.body import Refused
from api.platforms.platform import Services
from api.platforms.who_asks import check_who_asks, load_hook

log = logging.getLogger(__name__)


def token_router(services: Services) -> APIRouter:
    router = APIRouter(prefix="/elevenlabs")
    settings = services.settings
    key = settings.elevenlabs_api_key
    assert key is not None  # noqa: S101 - for the type: there are no routes without it
    headers = {"xi-api-key": key.get_secret_value()}
    url = f"{settings.elevenlabs_api_url.rstrip('/')}/v1/convai/conversation/token"
    rate, hook = Rate(settings.authorize_per_minute), load_hook(settings.authorize_hook)

    @router.post("/token")
    async def token(request: Request) -> Response:
        if not settings.elevenlabs_engine_id:
            return JSONResponse({"error": "ELEVENLABS_ENGINE_ID is not set on this server."}, 503)
        if wait := rate.wait(network_of(request.client.host if request.client else "")):
            retry = {"Retry-After": str(math.ceil(wait))}
            return JSONResponse({"error": "Too many requests from this address."}, 429, headers=retry)
        try:
            await check_who_asks(hook, request, {})
        except Refused as refused:
            return refused.response
        try:
            params = {"agent_id": settings.elevenlabs_engine_id}
            answer = await services.http().get(url, params=params, headers=headers)
            fields: Any = answer.json() if answer.status_code == 200 else {}
        except (httpx.HTTPError, ValueError):
            fields = {}
        if not isinstance(fields, dict) or not isinstance(fields.get("token"), str):
            log.error("ElevenLabs gave no token for ELEVENLABS_ENGINE_ID")
            return JSONResponse({"error": "No token can be had from ElevenLabs now."}, 502)
        return JSONResponse({"token": fields["token"]})

    return router
