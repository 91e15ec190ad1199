"""The web application.

Start: settings, tools, prompt and model (`create_app`: an error here stops the process with its reason); then
the database and the shared HTTP client (lifespan). Stop: the server drains the agent, requests end, then the
agent and its database are closed, the HTTP client last.
"""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

import httpx
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from agent.storage import retention
from api.operations import (
    Metrics,
    Recorder,
    TurnLines,
    answer_unknown_paths,
    delete_run_file,
    health_router,
    metrics_router,
)
from api.platforms.platform import Services
from api.platforms.registry import configured_platforms, platform_routers
from api.settings import NotConfigured, Settings
from api.wiring import AgentParts, load_parts, open_configured

if TYPE_CHECKING:
    from api.operations.spans import Spans

_TIMEOUT = httpx.Timeout(10, connect=5)  # seconds, for the platforms' REST APIs


def create_app(
    settings: Settings | None = None, parts: AgentParts | None = None, *, documented: bool = False
) -> FastAPI:
    """The application. NotConfigured when it must not start. documented: with FastAPI's /docs and /openapi.json."""
    settings = settings or Settings.load()
    parts = parts or load_parts(settings)

    metrics, tracing = Metrics(parts.models.candidates), _tracing()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        recorder, spans = _recorder(settings), tracing() if tracing else None
        observers = [observer for observer in (TurnLines(), metrics, recorder, spans) if observer]
        async with (
            httpx.AsyncClient(timeout=_TIMEOUT) as http,
            open_configured(settings, parts, observers) as (agent, storage),
            retention(storage, settings.retention_days, partial(delete_run_file, settings.record_runs)),
        ):
            app.state.http, app.state.agent, app.state.storage = http, agent, storage
            _tune_collector()
            yield
        metrics.close()
        if recorder:
            await recorder.close()
        if spans:
            await spans.close()

    app = FastAPI(
        title="Voice agent backend",
        version=version("voice-agent-backend"),
        lifespan=lifespan,
        openapi_url="/openapi.json" if documented else None,
        redirect_slashes=False,  # a redirect leads to http behind a proxy, and nobody signs a webhook again for it
    )
    answer_unknown_paths(app, settings.all_secrets())
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["POST"], allow_headers=["*"]
        )
    if tracing:
        app.add_middleware(tracing.middleware)
    token = settings.metrics_token
    services = Services(settings, lambda: app.state.agent, lambda: app.state.http, metrics.refused)
    for router in platform_routers(services):
        app.include_router(router)
    app.state.has_sockets = any(platform.has_sockets for platform in configured_platforms(settings))
    app.include_router(health_router(lambda: app.state.agent))
    app.include_router(metrics_router(metrics, token.get_secret_value() if token else None))
    return app


def _recorder(settings: Settings) -> Recorder | None:
    return Recorder(settings.record_runs) if settings.record_runs else None


def _tracing() -> type[Spans] | None:
    """Only when the environment asks for them: OpenTelemetry is an extra, and large."""
    asked = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if disabled or os.environ.get("OTEL_TRACES_EXPORTER") == "none" or not any(map(os.environ.get, asked)):
        return None
    try:
        from api.operations.spans import Spans
    except ImportError:
        raise NotConfigured(
            "An OTEL_ variable asks for traces, and OpenTelemetry is not installed: uv sync --extra otel"
        ) from None
    return Spans


def _tune_collector() -> None:
    """What is loaded by now stays: without this each full garbage collection looks through all of it, and holds every
    conversation for 0.1 to 0.2 s meanwhile. And look for cycles less often than after each 700 objects, which a
    few turns make: that was a fifth of all CPU. The rarest of the three still has to come: what has lived through the
    others, such as a long call's socket, is freed by that alone."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 10)
