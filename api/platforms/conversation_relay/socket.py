"""One phone call over ConversationRelay's WebSocket.

Partial prompts never act. An `interrupt` cuts at once, also when no prompt follows; what was heard, a fragment, goes
with the next turn. An empty prompt is noise: what it has interrupted is taken up again. Digits are the caller's words
once they are complete.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Mapping
from typing import Any

from fastapi import WebSocket

from agent.failures import logged
from agent.json_values import strip_nul
from agent.languages import tag_of
from agent.tooling import HowEnded
from agent.turns import CallControl
from api.platforms.abilities import RELAY
from api.platforms.call import Call, Caller
from api.platforms.conversation_relay import frames
from api.platforms.platform import Services
from api.platforms.silence import Silence
from api.platforms.sockets import Frames, close, send

log = logging.getLogger(__name__)

_DIGITS_SECONDS = 2.5  # without another key, after which the digits are complete
_MOST_DIGITS = 64
_MOST_KEPT = 100  # frames between two turns
_SPEAKING, _SILENT = (frames.Info(type="info", name="agentSpeaking", value=value) for value in ("on", "off"))


class RelayLine:
    """Sends a turn's words as frames."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def say(self, text: str) -> None:
        await self._send(frames.text(text, last=False))

    async def end_answer(self) -> None:
        await self._send(frames.text("", last=True))

    async def cut_answer(self) -> None:
        """A talk cycle is closed in any case."""
        await self.end_answer()

    async def control(self, control: CallControl) -> None:
        log.info("the call is asked to: %s", control.action)
        match control.action:
            case "send_dtmf":
                await self._send(frames.send_digits(control.value))
            case "hang_up":
                await self._send(frames.end())
            case "transfer":
                await self._send(frames.end({"transfer": control.value, "reason": control.reason}))

    async def _send(self, frame: str) -> None:
        await send(self._socket, frame)


async def serve_call(socket: WebSocket, services: Services, platform: str) -> None:
    """Carry a call until its socket is closed. The socket's peer has been authenticated, and is accepted here."""
    await socket.accept()
    received = Frames[frames.Frame](socket, frames.parse)
    setup = await received.first()
    if not isinstance(setup, frames.Setup) or not setup.call:
        services.refused(f"{platform.lower()}: no setup")
        log.warning("a call on %s was refused: its first frame is no setup with a callSid", platform)
        await close(socket)
        return
    conversation = _Conversation(socket, services, setup, platform)
    try:
        await conversation.begin()
        async for frame in received:
            await conversation.take(frame)
    finally:
        await conversation.close(received.how_ended)


async def call_over(services: Services, fields: Mapping[str, str], platform: str) -> None:
    """The platform has asked what becomes of a call: its socket is not opened again. fields: of that request."""
    if call := strip_nul(fields.get("CallSid", "")):
        hung_up: HowEnded | None = "caller hung up" if fields.get("CallStatus") == "completed" else None
        await services.agent().calls.over(call, call, platform, hung_up)


class _Conversation:
    """What the frames of one socket do, in their order."""

    def __init__(self, socket: WebSocket, services: Services, setup: frames.Setup, platform: str) -> None:
        caller = Caller(
            conversation_id=strip_nul(setup.call),
            platform=platform,
            number=setup.from_ or None,
            metadata=setup.parameters,
            language=_language(setup, services.settings.relay_options),
            abilities=RELAY.controls,
        )
        self._call = Call(services.agent, RelayLine(socket), caller, services.settings.apology_in)
        self._session = strip_nul(setup.session) or uuid.uuid4().hex
        self._services = services
        self._loop = asyncio.get_running_loop()
        self._conversation = caller.conversation_id
        self._prompts = 0
        self._was_reopened = False
        self._digits = ""
        self._digits_due: asyncio.Task[None] | None = None
        self._caller_speaks = False
        self._silence = Silence(services.settings.idle_seconds, self._is_quiet, self._fell_silent)
        self._silences = 0
        self._taken: deque[tuple[float, frames.Frame]] = deque(maxlen=_MOST_KEPT)

    async def close(self, how: HowEnded) -> None:
        self._silence.close()
        if self._digits_due:
            self._digits_due.cancel()
        await self._call.close(how)
        if self._taken:
            with logged(log, "the last frames of a call could not be kept"):
                id_ = f"frames:{self._session}"
                await self._services.agent().note(self._conversation, id_, "frames", self._frames_taken())

    async def begin(self) -> None:
        """Greet. A call that is known goes on where it was: its socket has been opened again."""
        last = await self._services.agent().last_turn(self._conversation)
        await self._call.open(last.heard if last else None)
        if last is None:
            await self._call.begin(f"{self._session}.0", kind="welcome")
        self._was_reopened = last is not None
        self._silence.start()

    def _is_quiet(self) -> bool:
        return not (self._caller_speaks or self._digits) and self._call.is_quiet

    async def _fell_silent(self, count: int) -> None:
        """Nobody has spoken for a while, so often in a row. What was interrupted without words is taken up first."""
        settings = self._services.settings
        self._silences += 1
        turn_id = f"{self._session}.silence{self._silences}"
        if self._call.interrupted:
            await self._hear("")
        elif count <= settings.idle_reminders:
            await self._call.begin(turn_id, kind="silence", line=settings.idle_message)
        elif count == settings.idle_reminders + 1:
            then = CallControl("hang_up", reason="silence")
            await self._call.begin(turn_id, kind="silence", line=settings.idle_goodbye_message, then=then)

    async def take(self, frame: frames.Frame) -> None:
        says = isinstance(frame, frames.Prompt) and frame.text.strip()
        if says or isinstance(frame, frames.Interrupt | frames.Dtmf):
            self._silence.broken()
        if isinstance(frame, frames.Interrupt) and frame.heard is None and self._call.playout.played:
            frame = frame.model_copy(update={"heard": self._call.playout.played})
        if isinstance(frame, frames.Interrupt | frames.Dtmf) or frame in (_SPEAKING, _SILENT):
            self._keep(frame)
        match frame:
            case frames.Prompt(last=True) if frame.text.strip() or self._call.interrupted:
                self._keep(frame)
                await self._hear(frame.text, tag_of(frame.lang))
            case frames.Interrupt():
                await self._call.interrupt(frame.heard, "fragment")
            case frames.Dtmf() if frame.digit:
                await self._press(frame.digit)
            case frames.Info(name="agentSpeaking"):
                self._call.playout.speaks(frame.value == "on")
            case frames.Info(name="clientSpeaking"):
                self._caller_speaks = frame.value == "on"
            case frames.Info(name="tokensPlayed"):
                self._call.playout.has_played(frame.value)
            case frames.Fault():
                log.warning("the platform reports an error with a frame of ours")
                log.debug("the platform's error: %s", frame.description)

    async def _hear(self, text: str, language: str = "") -> None:
        """The first words on a new socket may be those of a turn that was not answered to its end, sent again: then
        they are the same turn. So they are when it has run tools, which must not be run twice."""
        words = strip_nul(text.strip())
        self._prompts += 1
        turn_id = f"{self._session}.{self._prompts}"
        if self._was_reopened:
            self._was_reopened = False
            turn_id = await self._unfinished(words) or turn_id
        await self._call.begin(turn_id, words, language=language, frames=self._frames_taken())

    async def _unfinished(self, words: str) -> str | None:
        """The turn that these words have begun before, if it was not answered, or has run tools."""
        last = await self._services.agent().last_turn(self._conversation)
        if last is None or last.text != words or (last.is_answered and not last.has_called):
            return None
        return last.id

    def _keep(self, frame: frames.Frame) -> None:
        """For replay."""
        self._taken.append((self._loop.time(), frame))

    def _frames_taken(self) -> list[tuple[int, dict[str, Any]]]:
        """Those since the last time: (ms before now, frame)."""
        now, taken = self._loop.time(), list(self._taken)
        self._taken.clear()
        return [(round((at - now) * 1000), frames.kept(frame)) for at, frame in taken]

    async def _press(self, digit: str) -> None:
        """Collected until `#`, or until no key is pressed any more."""
        if self._digits_due:
            self._digits_due.cancel()
            self._digits_due = None
        self._digits += digit[:1]
        if digit == "#" or len(self._digits) >= _MOST_DIGITS:
            await self._keyed()
        else:
            self._digits_due = asyncio.create_task(self._keyed(after=_DIGITS_SECONDS))

    async def _keyed(self, after: float = 0) -> None:
        await asyncio.sleep(after)
        digits, self._digits = self._digits, ""
        self._digits_due = None
        await self._hear(f"pressed {' '.join(digits)}")


def _language(setup: frames.Setup, options: Mapping[str, Any]) -> str:
    """In which the call begins: a parameter of the call's own, or what the relay was told to listen for."""
    told = (setup.parameters.get("language"), options.get("transcription_language"), options.get("language"))
    return next(filter(None, map(tag_of, told)), "")
