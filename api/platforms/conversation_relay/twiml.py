"""What Twilio and Telnyx are told to do with a call, as XML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Response
from twilio.twiml.voice_response import Connect, VoiceResponse

from api.platforms.body import json_object


def connect(relay: str, ended: str, options: Mapping[str, Any]) -> Response:
    """Connect the call to the WebSocket `relay`, and ask at `ended` what comes after it. options: further attributes of
    `<ConversationRelay>`, such as language, voice or tts_provider."""
    answer, connected = VoiceResponse(), Connect(action=ended, method="POST")
    connected.conversation_relay(**{"dtmf_detection": True, **options, "url": relay})
    answer.append(connected)
    return _xml(answer)


def after_relay(handoff: str) -> Response:
    """Dial whom the call is transferred to, else hang up. handoff: what the relay's `end` frame said."""
    answer = VoiceResponse()
    if to := _transfer_of(handoff):
        answer.dial(to)
    else:
        answer.hangup()
    return _xml(answer)


def _transfer_of(handoff: str) -> str:
    to = (json_object(handoff.encode(errors="replace")) or {}).get("transfer")
    return to if isinstance(to, str) and to.isprintable() else ""


def _xml(answer: VoiceResponse) -> Response:
    return Response(str(answer), media_type="application/xml")
