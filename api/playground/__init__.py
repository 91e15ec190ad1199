"""A local stand-in for Layercode's pipeline, for `voice dev` alone, and a page to talk to the agent.

What Layercode's clients find at its two paths they find here; the backend gets the same signed webhooks (protocol
sheet §2, §6, §7). wires.py holds the conversation over another platform's wire instead. The order to read it in:
routes, session, answer.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from api.playground.guard import Guard, local_origin
from api.playground.routes import PAGE, PlaygroundContext, playground_router
from api.playground.sessions import Sessions
from api.playground.state import OwnBackend
from api.playground.webhooks import Backend, http_client, without_password
from api.playground.wires import Wires
from api.settings import Settings
from api.wiring import AgentParts

__all__ = ["add_playground", "without_password"]


def add_playground(
    app: FastAPI, settings: Settings, parts: AgentParts, *, webhook: str, own: bool, hosts: Collection[str] = ()
) -> None:
    """Mount the playground below the routes of `app`. webhook: the backend's URL. own: whether it is this server's.
    hosts: names and addresses of this machine to which it answers, beside the loopback ones."""
    backend = Backend(webhook, settings.webhook_secret, http_client())
    this = OwnBackend(settings, parts, lambda: app.state.agent, lambda: app.state.storage)
    key = settings.layercode_api_key
    inner = FastAPI(openapi_url=None)
    api_key = key.get_secret_value() if key else None
    wires = Wires(settings, lambda: app.state.agent, lambda: app.state.http) if own else None
    context = PlaygroundContext(Sessions(), backend, api_key, this if own else None, wires)
    inner.include_router(playground_router(context))
    inner.mount("/", _Page(directory=PAGE, html=True))
    app.mount("/", Guard(inner, hosts))
    app.state.has_sockets = True
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_origin_regex=local_origin(hosts),
        allow_methods=["POST"],
        allow_headers=["*"],
    )
    logging.getLogger("uvicorn.error").addFilter(_without_session_key)
    within = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with within(app), backend.http, wires.running() if wires else nullcontext():
            yield

    app.router.lifespan_context = lifespan


class _Page(StaticFiles):
    """The page's files, with headers that prevent stale copies and frames of other pages (clickjacking)."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Content-Security-Policy"] = "frame-ancestors 'none'"
        response.headers["X-Frame-Options"] = "DENY"
        return response


def _without_session_key(record: logging.LogRecord) -> bool:
    """A log filter: uvicorn logs each socket's URL, which contains the session key."""
    return "client_session_key" not in record.getMessage()
