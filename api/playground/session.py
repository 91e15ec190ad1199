"""One client's socket: turn taking between user and agent, and the webhooks that result (protocol sheet §7)."""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections import deque
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any

from agent.failures import log_failure
from api.playground.answer import Answer
from api.playground.client import Client
from api.playground.conversation import SESSION_SECONDS, Conversation
from api.playground.session_report import SessionReport
from api.playground.webhooks import WebhookClient, WebhookFailed
from api.playground.wires import PlatformCall

log = logging.getLogger(__name__)

REPLACED, TIMED_OUT = 4001, 4002  # close codes; the platform's own are unknown (§11)
_MAX_TEXT = 100_000  # characters of a message
_MAX_QUEUED = 10  # texts that wait for the end of an answer
_MAX_TASKS = 10
_MAX_KEYS = 64
_KEYS = re.compile(rf"[0-9*#]{{1,{_MAX_KEYS}}}")
_NO_RECOGNITION = "This server cannot hear: it recognises no speech. Please type, or use the page's microphone button."


class Session:
    """A session on one socket; call `run()`.

    One answer is played at a time. The user interrupts it by text, by push to talk or by detected speech, until its
    `response.end` is sent.
    """

    def __init__(self, client: Client, conversation: Conversation, wire: WebhookClient | PlatformCall) -> None:
        self.conversation = conversation
        self._client = client
        self._terms = conversation.terms
        self._wire = wire
        self._report = SessionReport()
        self._answer: Answer | None = None
        self._queued_texts: deque[str] = deque()
        self._turn_lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._spoken_turn_id: str | None = None  # set while the client says that the user speaks
        self._ready = self._audio_refused = self._replaced = False
        self._closing, self._settled = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Return when the client has gone, after `replace()`, or after an hour, with `session.end` sent."""
        try:
            async with asyncio.timeout(SESSION_SECONDS):
                await self._until_closing()
        except TimeoutError:
            await self._client.close(TIMED_OUT, "A session lasts an hour at most, and this one is over.")
        finally:
            await asyncio.shield(asyncio.create_task(self._end()))

    async def replace(self) -> None:
        """End the session for a newer one. Returns when the interrupted answer is recorded, after 2 s at the latest."""
        self._replaced = True
        self._closing.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), 2)

    async def _until_closing(self) -> None:
        receiving = asyncio.create_task(self._receive())
        receiving.add_done_callback(_log_failure)
        receiving.add_done_callback(lambda _: self._closing.set())
        try:
            await self._closing.wait()
        finally:
            receiving.cancel()
        if self._replaced:
            await self._client.close(
                REPLACED, "This conversation was opened again, in another tab or by another client."
            )

    async def _receive(self) -> None:
        async for message in self._client.messages():
            await self._handle(message)

    async def _handle(self, message: Mapping[str, Any]) -> None:
        match message:
            case {"type": "client.ready"}:
                await self._welcome()
            case {"type": "client.response.text", "content": str(text)}:
                await self._receive_text(text)
            case {"type": "client.response.data", "data": data}:
                await self._start_task(self._send_data(data))
            case {"type": "client.audio", "content": str()}:
                await self._refuse_audio()
            case {"type": "vad_events", "event": "vad_start"}:
                if self._may_begin:
                    await self._speech_starts()
            case {"type": "trigger.turn.start"}:
                await self._speech_starts()
            case {"type": "vad_events", "event": "vad_end"} | {"type": "trigger.turn.end"}:
                await self._speech_ends()
            case {"type": "vad_events"} | {
                "type": "trigger.response.audio.replay_finished" | "trigger.response.audio.interrupted"
            }:
                pass  # not usable: completed and interrupted look the same, and come too early (§7.3)
            case {"type": "playground.keys", "digits": str(digits)}:
                await self._press(digits)
            case {"type": "playground.duplicate"}:
                await self._start_task(self._duplicate())
            case _:
                await self._client.error("A message of an unknown type or shape was ignored.")

    # Turn taking.

    async def _welcome(self) -> None:
        if not self._ready:
            self._ready = True
            if self._idle:
                await self._start_answer("session.start")

    async def _receive_text(self, text: str) -> None:
        if len(text) > _MAX_TEXT:
            await self._client.error(f"That text is longer than {_MAX_TEXT:,} characters, so it was not sent.")
        elif not text.strip():
            return
        elif self._may_begin:
            await self._user_turn(text)
        elif len(self._queued_texts) < _MAX_QUEUED:
            self._queued_texts.append(text)
        else:
            await self._client.error("Too many texts wait for the end of this answer, so this one was dropped.")

    async def _press(self, digits: str) -> None:
        """The keys of a phone, which interrupt as words do."""
        if not (isinstance(self._wire, PlatformCall) and self._wire.has_keys):
            await self._client.error("On this wire no keys can be pressed.")
        elif _KEYS.fullmatch(digits):
            await self._user_turn(f"pressed {' '.join(digits)}", digits=digits)
        else:
            await self._client.error(f"Keys are 0 to 9, * and #, and at most {_MAX_KEYS} of them.")

    async def _refuse_audio(self) -> None:
        """Report once that audio is not recognised: a client sends many chunks."""
        if not self._audio_refused:
            self._audio_refused = True
            await self._client.error(_NO_RECOGNITION)

    @property
    def _may_begin(self) -> bool:
        """Whether the user may begin a turn without push to talk."""
        return self._idle or self._terms.config.transcription.can_interrupt

    @property
    def _idle(self) -> bool:
        return self._answer is None and not self._turn_lock.locked()

    async def _speech_starts(self) -> None:
        """The client's voice detection or push to talk reports speech, which interrupts the answer."""
        if self._spoken_turn_id is None:
            self._spoken_turn_id = f"user-{uuid.uuid4()}"
            await self._begin_user_turn(self._spoken_turn_id)

    async def _speech_ends(self) -> None:
        """End the turn without words: those that the client recognises arrive as a text, which is its own turn."""
        turn_id, self._spoken_turn_id = self._spoken_turn_id, None
        if turn_id:
            await self._client.send({"type": "turn.end", "role": "user", "turn_id": turn_id})
            await self._next_queued_text()

    async def _begin_user_turn(self, turn_id: str) -> None:
        await self._client.send({"type": "turn.start", "role": "user", "turn_id": turn_id})
        await self._interrupt()

    async def _user_turn(self, text: str, **fields: Any) -> None:
        async with self._turn_lock:
            turn_id = f"user-{uuid.uuid4()}"
            if self._answer:
                await self._begin_user_turn(turn_id)
            await self._client.send({"type": "user.transcript", "content": text, "turn_id": turn_id})
            await self._client.send({"type": "turn.end", "role": "user", "turn_id": turn_id})
            self._report.add_line("user", text)
            interrupted, self.conversation.interrupted = self.conversation.interrupted, None
            context = {"interruption_context": interrupted.context} if interrupted else {}
            await self._start_answer("message", text=text, **fields, **context)

    async def _start_answer(self, type_: str, **fields: Any) -> None:
        turn_id = f"turn_{uuid.uuid4().hex}"
        request = self._wire.request(type_, turn_id, **fields)
        self._answer = Answer(turn_id, request, self._wire.stream, self._client.send)
        self._answer.start(self._answer_played)

    async def _answer_played(self, answer: Answer) -> None:
        """After an answer that was played to its end, the next message reports no earlier interruption (§2.3)."""
        self._add_to_report(answer, answer.text)
        if answer.text:
            self.conversation.interrupted = None
        if self._answer is answer:
            self._answer = None
        await self._next_queued_text()

    async def _next_queued_text(self) -> None:
        if self._queued_texts and self._idle:
            await self._user_turn(self._queued_texts.popleft())

    async def _interrupt(self) -> None:
        """Cancel the current answer, if there is one, and record what was heard of it."""
        answer, self._answer = self._answer, None
        if answer is None:
            return
        interrupted = answer.interrupted_now()
        if answer.text or not self.conversation.interrupted:  # a resumed session's empty welcome does not count
            self.conversation.interrupted = interrupted
        await answer.cancel()
        await self._wire.interrupted(interrupted.heard)
        self._add_to_report(answer, interrupted.heard)
        await self._client.send(interrupted.message)

    def _add_to_report(self, answer: Answer, heard: str) -> None:
        self._report.add_line("assistant", heard)
        self._report.add_latency(answer.latency)

    # Requests that are no part of a turn.

    async def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        if len(self._tasks) >= _MAX_TASKS:
            work.close()
            await self._client.error(
                "Too much is going on at once, so something was dropped. Send it again, more slowly."
            )
            return
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_log_failure)

    async def _send_data(self, data: Any) -> None:
        turn_id = self._answer.turn_id if self._answer else f"turn_{uuid.uuid4().hex}"
        try:
            response = await self._wire.send_data(turn_id, data)
        except WebhookFailed as failure:
            await self._client.error(str(failure))
        else:
            if response is not None:
                await self._client.send({"type": "response.data", "content": response, "turn_id": turn_id})

    async def _duplicate(self) -> None:
        try:
            status, same = await self._wire.repeat_last()
        except WebhookFailed as failure:
            await self._client.error(str(failure))
            return
        await self._client.send({"type": "playground.duplicated", "status": status, "same": same})

    # The end.

    async def _end(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        async with self._turn_lock:
            await self._interrupt()
        self._settled.set()
        if self._ready:
            with suppress(WebhookFailed):
                await self._wire.end(ip_address=self._client.address, country_code=None, **self._report.fields())
        await self._wire.close()


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log_failure(log, "a playground session failed", error)
