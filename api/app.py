"""The web application.

Start: settings, tools, prompt and model (`create_app`: an error here stops the process with its reason); then
the database and the shared HTTP client (lifespan). Stop: the server drains the agent, requests end, then the
agent and its database are closed, the HTTP client last.
"""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

import httpx
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from api.authorize import authorize_router
from api.health import health_router
from api.settings import Settings
from api.webhook import webhook_router
from api.wiring import Parts, load_parts, open_configured

if TYPE_CHECKING:
    from api.recorder import Recorder

_TIMEOUT = httpx.Timeout(10, connect=5)  # seconds, for Layercode's REST API


def create_app(settings: Settings | None = None, parts: Parts | None = None) -> FastAPI:
    """The application. NotConfigured when it must not start."""
    settings = settings or Settings.load()
    parts = parts or load_parts(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        recorder = _recorder(settings)
        observe = recorder.observe if recorder else None
        async with (
            httpx.AsyncClient(timeout=_TIMEOUT) as http,
            open_configured(settings, parts, observe) as (agent, _),
        ):
            app.state.http, app.state.agent = http, agent
            _freeze()
            yield
        if recorder:
            await recorder.close()

    app = FastAPI(title="Voice agent backend", version=version("voice-agent-backend"), lifespan=lifespan)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["POST"], allow_headers=["*"]
        )
    api_key = settings.layercode_api_key
    app.include_router(
        webhook_router(
            secret=settings.webhook_secret,
            agent=lambda: app.state.agent,
            drain_seconds=settings.drain_seconds,
        )
    )
    app.include_router(
        authorize_router(
            api_url=settings.layercode_api_url,
            api_key=api_key.get_secret_value() if api_key else None,
            agent_id=settings.layercode_agent_id,
            http=lambda: app.state.http,
        )
    )
    app.include_router(health_router(lambda: app.state.agent))
    return app


def _recorder(settings: Settings) -> Recorder | None:
    if settings.record_runs is None:
        return None
    from api.recorder import Recorder

    return Recorder(settings.record_runs)


def _freeze() -> None:
    """What is loaded by now stays. Without this each full garbage collection looks through all of it, and holds
    every conversation for 0.1 to 0.2 s meanwhile."""
    gc.collect()
    gc.freeze()
