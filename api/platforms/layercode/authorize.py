"""`POST /api/authorize`: session keys for browsers, while the API key stays here (protocol sheet §6.1).

Of what the browser sends these go to Layercode: `agent_id`, `conversation_id`, `metadata`, `custom_metadata`,
`sdk_version`. Not a `config`, nor `custom_headers`: with them a page could have a session's webhooks, and so its
transcripts, sent elsewhere. The 200 answer goes back as it is: the SDK needs the `config` in that. A page cannot
spend this key on another agent than the configured one.

    400  the body is no JSON object, or names no agent
    403  another agent than the configured one, or AUTHORIZE_HOOK says no
    408  the body takes more than 10 s
    413  the body is over 64 KiB, or its metadata over 16,000 characters
    429  this address has asked too often
    4xx  Layercode's own status, with its reason where that is harmless
    502  Layercode cannot be reached, fails, or makes no sense
    503  no API key is configured here, or AUTHORIZE_HOOK failed
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import httpx
from fastapi import APIRouter, Request, Response

from api.operations import Rate, network_of
from api.platforms.body import Refused, json_object, read_json
from api.platforms.layercode.openapi import AUTHORIZE
from api.platforms.metadata import MAX_METADATA
from api.platforms.who_asks import Hook, check_who_asks

MAX_BODY = 64 * 1024  # bytes
_PASSED = ("agent_id", "conversation_id", "metadata", "custom_metadata", "sdk_version")
_MAX_REASON = 200  # characters

_log = logging.getLogger(__name__)


def authorize_router(
    *,
    api_url: str,
    api_key: str | None,
    agent_id: str | None,
    http: Callable[[], httpx.AsyncClient],
    per_minute: int = 30,
    hook: Hook | None = None,
) -> APIRouter:
    """The route. `http` gives the shared client when a request comes in; its timeouts apply. `per_minute`: requests
    of one address.

    Raises ValueError for an `api_key` that cannot be sent in a header, httpx.InvalidURL for a bad `api_url`.
    """
    url = httpx.URL(f"{api_url.rstrip('/')}/agents/web/authorize_session")
    key = _sendable(api_key)
    router, rate = APIRouter(), Rate(per_minute)

    @router.post("/api/authorize", **AUTHORIZE)
    async def authorize(request: Request) -> Response:
        try:
            _limit(rate, request)
            if not key:
                raise Refused(503, "This server has no Layercode API key, so it cannot authorize sessions.")
            fields = await read_json(request, MAX_BODY)
            body = _for_agent(agent_id, fields)
            await check_who_asks(hook, request, fields)
            answer = await _ask(http(), url, key, body)
            return _pass_on(answer, key)
        except Refused as refused:
            return refused.response

    return router


def _limit(rate: Rate, request: Request) -> None:
    address = request.client.host if request.client else ""
    if wait := rate.wait(network_of(address)):
        if "x-forwarded-for" in request.headers:
            _log.warning("authorize: too many from a proxy; FORWARDED_ALLOW_IPS names those whose callers count apart")
        raise Refused(429, "Too many sessions were asked for. Try again in a moment.", retry_after=wait)


def _sendable(key: str | None) -> str:
    key = (key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ValueError("the Layercode API key holds a character that cannot be sent in a header")
    return key


def _for_agent(configured: str | None, fields: dict[str, Any]) -> bytes:
    """The body to send on. Written anew, so that a repeated `agent_id` key cannot mean two things."""
    wanted = fields.get("agent_id") or configured
    if not wanted:
        raise Refused(400, "agent_id: field required")
    if not isinstance(wanted, str):
        raise Refused(400, "agent_id: should be a string")
    if configured and wanted != configured:
        raise Refused(403, "This server does not serve that agent.")
    passed = {name: value for name, value in fields.items() if name in _PASSED}
    if len(passed) < len(fields):
        _log.info("authorize: left out %s", ", ".join(sorted({"config", "custom_headers"} & fields.keys())) or "others")
    try:
        if any(len(json.dumps(passed.get(name))) > MAX_METADATA for name in ("metadata", "custom_metadata")):
            raise Refused(413, f"The metadata is larger than {MAX_METADATA} characters.")
        return json.dumps({**passed, "agent_id": wanted}, allow_nan=False).encode()
    except (ValueError, RecursionError):  # 1e999 is read as infinity
        raise Refused(400, "The body cannot be sent on as JSON.") from None


async def _ask(client: httpx.AsyncClient, url: httpx.URL, key: str, body: bytes) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    try:
        answer = await client.post(url, content=body, headers=headers, follow_redirects=False)
    except httpx.HTTPError as error:
        _log.warning("authorize: no answer from Layercode (%s)", type(error).__name__)
        raise Refused(502, "Layercode could not be reached.") from None
    _log.info("authorize: Layercode answered %d", answer.status_code)
    return answer


def _pass_on(answer: httpx.Response, key: str) -> Response:
    status = answer.status_code
    if 400 <= status < 500:
        raise Refused(status, _reason(answer, key))
    if not answer.is_success or json_object(answer.content) is None:
        raise Refused(502, "Layercode gave no usable answer.")
    return Response(answer.content, status, media_type="application/json")


def _reason(answer: httpx.Response, key: str) -> str:
    """Layercode's own words if they are short and not about our key."""
    generic = "Layercode refused to authorize the session."
    if answer.status_code in (401, 403):
        return generic
    reason = (json_object(answer.content) or {}).get("error")
    if not isinstance(reason, str) or not 0 < len(reason) <= _MAX_REASON:
        return generic
    return reason if reason.isprintable() and key not in reason else generic
