"""The web application with an agent whose memory is gone afterwards."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from pydantic import SecretStr

from agent.agent import Agent, open_agent
from agent.storage import Storage, open_temporary_storage
from api.app import create_app
from api.platforms import CLIENTS
from api.replay.heard import SECRET
from api.settings import Settings
from api.wiring import AgentParts

_SECRET = SecretStr(SECRET)


def settings_for(platform: str) -> Settings:
    """Settings with which one platform is on (a name of `CLIENTS`), with a secret of its own."""
    secrets: dict[str, Any] = {"layercode_webhook_secret": SecretStr(""), CLIENTS[platform].secret: _SECRET}
    return Settings.model_construct(**secrets)


@asynccontextmanager
async def temporary_application(
    parts: AgentParts,
    *,
    settings: Settings | None = None,
    now: Callable[[], float] = time.time,
    **options: Any,
) -> AsyncIterator[tuple[FastAPI, Agent, Storage]]:
    """settings: which platforms are on; without any, Layercode is. now: the Unix time that is entered in the journal.
    options: what else `open_agent` takes. Nothing is read from the environment."""
    app = create_app(settings or settings_for("layercode"), parts)
    async with (
        open_temporary_storage(now) as storage,
        open_agent(storage=storage, folder=parts.folder, models=parts.models, config=parts.config, **options) as agent,
    ):
        app.state.agent = agent
        yield app, agent, storage
