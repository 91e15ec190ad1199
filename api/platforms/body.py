"""Reading a request's body no further than a limit, and no longer; and as JSON."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect, Request

BODY_SECONDS = 10.0  # seconds until a body must be there


class Refused(Exception):
    """A request that is not served. text: for its sender. reason: in a word or two, for the metrics. retry_after: in
    seconds."""

    def __init__(self, status: int, text: str, reason: str = "", retry_after: float = 0) -> None:
        super().__init__(text)
        self.status, self.text, self.reason, self.retry_after = status, text, reason, retry_after

    @property
    def response(self) -> JSONResponse:
        headers = {"Retry-After": str(math.ceil(self.retry_after))} if self.retry_after else None
        return JSONResponse({"error": self.text}, self.status, headers)


def too_large(limit: int) -> Refused:
    """For a body of more than `limit` bytes."""
    return Refused(413, f"The body is larger than {limit // 1024} KiB.", "too large")


async def read_body(request: Request, limit: int) -> bytes:
    """The body. Refused when it is larger, breaks off, or takes more than 10 s."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise too_large(limit)
    except ClientDisconnect:
        raise Refused(400, "The body is incomplete.", "incomplete") from None
    except TimeoutError:
        raise Refused(408, "The body took too long.", "too slow") from None
    return bytes(body)


async def read_json(request: Request, limit: int) -> dict[str, Any]:
    """The object that the body is in JSON. Refused as by `read_body`, and when it is anything else."""
    fields = json_object(await read_body(request, limit))
    if fields is None:
        raise Refused(400, "The body is not a JSON object.")
    return fields


def json_object(body: bytes) -> dict[str, Any] | None:
    """The object that the body is in JSON; None when it is anything else."""
    try:
        value = json.loads(body.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
