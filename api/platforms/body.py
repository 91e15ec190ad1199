"""Reading a request's body no further than a limit, and no longer; and as JSON."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import Request

BODY_SECONDS = 10.0  # seconds until a body must be there


class TooLarge(Exception):
    """The body is larger than the limit. What came of it is dropped."""


async def read_body(request: Request, limit: int) -> bytes:
    """The body, at most `limit` bytes of it read; else TooLarge. ClientDisconnect when it breaks off, TimeoutError
    when it takes more than 10 s."""
    body = bytearray()
    async with asyncio.timeout(BODY_SECONDS):
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise TooLarge
    return bytes(body)


def json_object(body: bytes) -> dict[str, Any] | None:
    """The object that the body is in JSON; None when it is anything else."""
    try:
        value = json.loads(body.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
