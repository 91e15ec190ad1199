"""Requests to paths that do not exist. A webhook's URL with a slip in it would else fail without a trace."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from api.operations.rate import Rate

log = logging.getLogger(__name__)

_LINES = 10  # a minute


def answer_unknown_paths(app: FastAPI) -> None:
    """Answer them with a 404, and log those with POST."""
    lines = Rate(_LINES)

    @app.exception_handler(404)
    async def unknown(request: Request, _: Exception) -> Response:
        if request.method == "POST" and not lines.wait(""):
            path = {"path": request.url.path[:60]}
            log.warning(
                "a POST to a path that is not served: see docs/platforms.md for each platform's", extra={"fields": path}
            )
        return JSONResponse({"error": "There is nothing at this path."}, 404)
