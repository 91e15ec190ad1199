"""All platforms, and those that the settings switch on."""

from __future__ import annotations

from fastapi import APIRouter

from api.platforms.completions import platform as completions
from api.platforms.conversation_relay import platform as conversation_relay
from api.platforms.layercode import platform as layercode
from api.platforms.platform import Platform, Services
from api.platforms.speech_engine import platform as speech_engine
from api.settings import NotConfigured, Settings

PLATFORMS = (
    layercode.PLATFORM,
    conversation_relay.TWILIO,
    conversation_relay.TELNYX,
    speech_engine.PLATFORM,
    completions.PLATFORM,
)


def configured_platforms(settings: Settings) -> list[Platform]:
    """Those whose secret is set. NotConfigured when there is none, or when a secret would let anybody in."""
    chosen = [platform for platform in PLATFORMS if platform.is_configured(settings)]
    if not chosen:
        names = ", ".join(f"{platform.secret.upper()} ({platform.name})" for platform in PLATFORMS)
        raise NotConfigured(f"No platform is connected, so nobody could call: set one of {names}. docs/platforms.md.")
    settings.check_secrets(platform.secret for platform in chosen)
    return chosen


def platform_routers(services: Services) -> list[APIRouter]:
    """The routes of the configured platforms."""
    routers: list[APIRouter] = []
    for platform in configured_platforms(services.settings):
        try:
            routers += platform.routers(services)
        except ImportError:
            raise NotConfigured(
                f"{platform.secret.upper()} needs packages that are not installed: uv sync --extra {platform.extra}."
            ) from None
    return routers
