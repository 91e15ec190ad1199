"""`WS /elevenlabs/speech-engine`: one conversation.

The turn is the `event_id`: a higher one interrupts, the same one again is a retry of an attempt that was given up, and
gets the same answer. What was heard of an answer is derived from the agent's line in the history that comes with the
next event: it counts when the answer begins with it.
"""

from __future__ import annotations

import logging

from elevenlabs.speech_engine.resource import verify_speech_engine_jwt
from fastapi import APIRouter, WebSocket

from agent.json_values import strip_nul
from agent.tooling import HowEnded
from agent.turns import CallControl, HeardReport
from api.platforms.call import Call, Caller
from api.platforms.platform import Services
from api.platforms.sockets import POLICY_VIOLATION, Frames, close, send
from api.platforms.speech_engine import frames

log = logging.getLogger(__name__)

_HEADER = "x-elevenlabs-speech-engine-authorization"


class EngineLine:
    """Sends a turn's words as frames. event_id: of the present turn; answers to an older one are dropped there."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self.event_id = 0

    async def say(self, text: str) -> None:
        await send(self._socket, frames.response(text, self.event_id, is_final=False))

    async def end_answer(self) -> None:
        await send(self._socket, frames.response("", self.event_id, is_final=True))

    async def cut_answer(self) -> None:
        """Nothing: a later event_id says it."""

    async def control(self, control: CallControl) -> None:
        """There is none on this wire."""


def socket_router(services: Services) -> APIRouter:
    router = APIRouter(prefix="/elevenlabs")
    key = services.settings.elevenlabs_api_key
    assert key is not None  # noqa: S101 - for the type: there are no routes without it
    secret = key.get_secret_value()

    @router.websocket("/speech-engine")
    async def speech_engine(socket: WebSocket) -> None:
        try:
            verify_speech_engine_jwt(socket.headers.get(_HEADER, ""), secret)
        except ValueError:
            services.refused("elevenlabs: token")
            log.warning("a Speech Engine was refused: its token is missing, out of date, or not made with this key")
            await socket.close(POLICY_VIOLATION)
            return
        await socket.accept()
        await _converse(socket, services)

    return router


async def _converse(socket: WebSocket, services: Services) -> None:
    received = Frames[frames.Frame](socket, frames.parse)
    init = await received.first()
    if not isinstance(init, frames.Init):
        services.refused("elevenlabs: no init")
        log.warning("a Speech Engine was refused: its first frame is no init with a conversation_id")
        await close(socket)
        return
    line = EngineLine(socket)
    caller = Caller(strip_nul(init.conversation_id), "ElevenLabs Speech Engine")
    call = Call(services.agent, line, caller, services.settings.apology_in)
    how: HowEnded | None = None
    try:
        await call.open()
        async for frame in received:
            match frame:
                case frames.Transcript() if frame.event_id >= line.event_id:
                    line.event_id = frame.event_id
                    heard = HeardReport(frame.heard, kind="derived") if frame.heard.strip() else None
                    await call.begin(str(frame.event_id), strip_nul(frame.text.strip()), heard=heard)
                case frames.Ping():
                    await send(socket, frames.PONG)
                case frames.Close():
                    how = "caller hung up"
                    return
                case frames.Fault():
                    log.warning("Speech Engine reports an error")
                    log.debug("Speech Engine's error: %s", frame.message)
    finally:
        await call.close(how or received.how_ended)
