"""ElevenLabs' Speech Engine as one of the platforms."""

from __future__ import annotations

from fastapi import APIRouter

from api.platforms.abilities import SPEECH_ENGINE
from api.platforms.platform import Platform, Services


def _routers(services: Services) -> list[APIRouter]:
    from api.platforms.speech_engine.socket import socket_router
    from api.platforms.speech_engine.token import token_router

    return [socket_router(services), token_router(services)]


PLATFORM = Platform(
    "ElevenLabs Speech Engine", "elevenlabs_api_key", SPEECH_ENGINE, _routers, extra="elevenlabs", has_sockets=True
)
