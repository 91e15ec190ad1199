"""Reading a request's body no further than a limit."""

from __future__ import annotations

from starlette.requests import Request


class TooLarge(Exception):
    """The body is larger than the limit. What came of it is dropped."""


async def read_body(request: Request, limit: int) -> bytes:
    """The body, at most `limit` bytes of it read; else TooLarge. ClientDisconnect when it breaks off."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLarge
    return bytes(body)
