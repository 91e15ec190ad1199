"""Twilio's ConversationRelay, and Telnyx', which speaks the same frames: one WebSocket for each phone call.

Open first: socket.py, which carries a call. twilio.py and telnyx.py have the routes and the authentication.
"""

from __future__ import annotations

from fastapi import APIRouter

from api.platforms.conversation_relay.socket import ABILITIES
from api.platforms.platform import Platform, Services


def _twilio(services: Services) -> list[APIRouter]:
    from api.platforms.conversation_relay.twilio import twilio_router

    return [twilio_router(services)]


def _telnyx(services: Services) -> list[APIRouter]:
    from api.platforms.conversation_relay.telnyx import telnyx_router

    return [telnyx_router(services)]


TWILIO = Platform("Twilio", "twilio_auth_token", ABILITIES, _twilio, extra="twilio", has_sockets=True)
TELNYX = Platform("Telnyx", "telnyx_token", ABILITIES, _telnyx, extra="twilio", has_sockets=True)
