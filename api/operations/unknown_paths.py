"""Requests to paths that do not exist. A webhook's URL with a slip in it would else fail without a trace."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from api.operations.rate import Rate

log = logging.getLogger(__name__)

_LINES = 10  # a minute


def answer_unknown_paths(app: FastAPI) -> None:
    """Answer them with a 404 that says where webhooks go, and log those with POST."""
    lines = Rate(_LINES)

    @app.exception_handler(404)
    async def unknown(request: Request, _: Exception) -> Response:
        if request.method == "POST" and not lines.wait(""):
            path = {"path": request.url.path[:60]}
            log.warning("a POST to an unknown path: webhooks go to /api/agent", extra={"fields": path})
        return JSONResponse({"error": "There is nothing here. Webhooks go to POST /api/agent."}, 404)
