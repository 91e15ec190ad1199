"""ElevenLabs' Speech Engine: the browser talks to ElevenLabs, which opens one WebSocket here for each conversation.

Open first: socket.py. token.py gives pages what they need to begin.
"""

from __future__ import annotations

from fastapi import APIRouter

from api.platforms.platform import Abilities, Platform, Services


def _routers(services: Services) -> list[APIRouter]:
    from api.platforms.speech_engine.socket import socket_router
    from api.platforms.speech_engine.token import token_router

    return [socket_router(services), token_router(services)]


PLATFORM = Platform(
    "ElevenLabs Speech Engine",
    "elevenlabs_api_key",
    Abilities("derived"),
    _routers,
    extra="elevenlabs",
    has_sockets=True,
)
