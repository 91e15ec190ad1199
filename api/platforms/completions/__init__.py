"""Chat completions: behind Vapi, ElevenLabs agents, LiveKit, Pipecat, Deepgram, open-webui or any client of OpenAI's.

Open first: routes.py, then request.py: how a conversation, a turn and what was heard are found in a request.
"""

from __future__ import annotations

from fastapi import APIRouter

from api.platforms.platform import Abilities, Platform, Services


def _routers(services: Services) -> list[APIRouter]:
    from api.platforms.completions.routes import completions_router

    return [completions_router(services)]


PLATFORM = Platform(
    "chat completions",
    "completions_api_key",
    Abilities(heard="derived", hang_up=True, transfer=True, send_dtmf=True, may_speak_first=True),
    _routers,
)
