"""A request's form."""

from __future__ import annotations

from urllib.parse import parse_qsl

from fastapi import Request

from api.platforms.body import Refused, read_body

_MAX_BODY = 64 * 1024  # bytes
_MAX_FIELDS = 200


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a urlencoded form. None at all when it cannot be read, or is too large: no signature fits then."""
    try:
        body = await read_body(request, _MAX_BODY)
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except (Refused, ValueError):
        return {}
