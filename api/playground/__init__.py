"""A local stand-in for Layercode's pipeline, for `voice dev` alone, and a page to talk to the agent.

What Layercode's clients find at its two paths they find here; the backend gets the same signed webhooks (protocol
sheet §2, §6, §7). The order to read it in: routes, session, answer.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from api.playground.guard import LOCAL_ORIGIN, Guard
from api.playground.routes import PAGE, playground_router
from api.playground.session import Studio
from api.playground.sessions import Sessions
from api.playground.state import Own
from api.playground.webhooks import Backend, http_client
from api.settings import Settings
from api.wiring import AgentParts


def add_playground(app: FastAPI, settings: Settings, parts: AgentParts, *, webhook: str, own: bool) -> None:
    """Answer whatever the application itself does not. webhook: the backend's URL; own: whether it is this server's."""
    studio = Studio(Backend(webhook, settings.webhook_secret, http_client()))
    mine = Own(settings, parts, lambda: app.state.agent, lambda: app.state.storage)
    key = settings.layercode_api_key
    inner = FastAPI(openapi_url=None)
    inner.include_router(
        playground_router(
            sessions=Sessions(),
            studio=studio,
            api_key=key.get_secret_value() if key else None,
            own=mine if own else None,
        )
    )
    inner.mount("/", _Page(directory=PAGE, html=True))
    app.mount("/", Guard(inner))
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_origin_regex=LOCAL_ORIGIN,
        allow_methods=["POST"],
        allow_headers=["*"],
    )
    logging.getLogger("uvicorn.error").addFilter(_without_session_key)
    within = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with within(app), studio.backend.http:
            yield

    app.router.lifespan_context = lifespan


class _Page(StaticFiles):
    """Read again when it has changed, and never within another page, which could have its buttons clicked."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Content-Security-Policy"] = "frame-ancestors 'none'"
        response.headers["X-Frame-Options"] = "DENY"
        return response


def _without_session_key(record: logging.LogRecord) -> bool:
    """uvicorn would log each socket's address, and the key is in it."""
    return "client_session_key" not in record.getMessage()
