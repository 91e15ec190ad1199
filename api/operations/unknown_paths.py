"""Requests to paths that do not exist. A webhook's URL with a slip in it would else fail without a trace."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from api.operations.rate import Rate

log = logging.getLogger(__name__)

_LINES = 10  # a minute
_WORD = re.compile(r"(?:[A-Za-z_-]{,16}|v\d)")


def answer_unknown_paths(app: FastAPI, secrets: Collection[str] = ()) -> None:
    """Answer them with a 404, and log those with POST. A part of the path that is no word, or one of the secrets, is
    left out of the log: Telnyx' URLs have a token."""
    lines = Rate(_LINES)

    @app.exception_handler(404)
    async def unknown(request: Request, _: Exception) -> Response:
        if request.method == "POST" and not lines.wait(""):
            parts = request.scope["path"][:60].split("/")
            shown = [part if _WORD.fullmatch(part) and part not in secrets else "…" for part in parts]
            path = {"path": "/".join(shown)}
            log.warning(
                "a POST to a path that is not served: see docs/platforms.md for each platform's", extra={"fields": path}
            )
        return JSONResponse({"error": "There is nothing at this path."}, 404)
