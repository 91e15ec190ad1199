"""Layercode as one of the platforms."""

from __future__ import annotations

from fastapi import APIRouter

from api.platforms.abilities import LAYERCODE
from api.platforms.layercode.authorize import authorize_router
from api.platforms.layercode.webhook import webhook_router
from api.platforms.platform import Platform, Services
from api.platforms.who_asks import load_hook


def _routers(services: Services) -> list[APIRouter]:
    settings = services.settings
    api_key = settings.layercode_api_key
    return [
        webhook_router(secret=settings.webhook_secret, agent=services.agent, refused=services.refused),
        authorize_router(
            api_url=settings.layercode_api_url,
            api_key=api_key.get_secret_value() if api_key else None,
            agent_id=settings.layercode_agent_id,
            http=services.http,
            per_minute=settings.authorize_per_minute,
            hook=load_hook(settings.authorize_hook),
        ),
    ]


PLATFORM = Platform(
    "Layercode",
    "layercode_webhook_secret",
    LAYERCODE,
    _routers,
)
