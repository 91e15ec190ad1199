"""Chat completions as one of the platforms."""

from __future__ import annotations

from fastapi import APIRouter

from api.platforms.abilities import COMPLETIONS
from api.platforms.completions.routes import completions_router
from api.platforms.platform import Platform, Services


def _routers(services: Services) -> list[APIRouter]:
    return [completions_router(services)]


PLATFORM = Platform("chat completions", "completions_api_key", COMPLETIONS, _routers)
