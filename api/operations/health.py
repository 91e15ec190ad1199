"""`GET /livez`: the process answers. `GET /readyz`: it can take a call: the database answers, no shutdown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from agent.agent import Agent

log = logging.getLogger(__name__)

_PATIENCE = 2.0  # seconds the database has to answer


def health_router(agent: Callable[[], Agent]) -> APIRouter:
    router = APIRouter()

    @router.get("/livez")
    async def live() -> Response:
        return JSONResponse({"status": "ok"})

    @router.get("/readyz")
    async def ready() -> Response:
        if agent().stopping:
            return JSONResponse({"status": "stopping"}, 503)
        try:
            async with asyncio.timeout(_PATIENCE):
                await agent().ready()
        except Exception as error:  # noqa: BLE001 - whatever the database raises, it is not ready
            log.error("not ready: the database does not answer (%s)", type(error).__name__)
            return JSONResponse({"status": "no database"}, 503)
        return JSONResponse({"status": "ok"})

    return router
