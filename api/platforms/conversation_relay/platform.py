"""Twilio and Telnyx as two of the platforms."""

from __future__ import annotations

from fastapi import APIRouter

from api.platforms.abilities import RELAY
from api.platforms.platform import Platform, Services


def _twilio(services: Services) -> list[APIRouter]:
    from api.platforms.conversation_relay.twilio import twilio_router

    return [twilio_router(services)]


def _telnyx(services: Services) -> list[APIRouter]:
    from api.platforms.conversation_relay.telnyx import telnyx_router

    return [telnyx_router(services)]


TWILIO = Platform("Twilio", "twilio_auth_token", RELAY, _twilio, extra="twilio", has_sockets=True)
TELNYX = Platform("Telnyx", "telnyx_token", RELAY, _telnyx, extra="twilio", has_sockets=True)
