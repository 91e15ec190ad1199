"""One socket of a client: who speaks, and the webhooks that come of it (protocol sheet §7)."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from agent.failures import log_failure
from api.playground.account import Account
from api.playground.answer import Answer
from api.playground.client import Client
from api.playground.conversation import LIFE, Conversation
from api.playground.webhooks import Backend, Request, WebhookFailed, Webhooks, encoded

log = logging.getLogger(__name__)

REPLACED, TIMED_OUT = 4001, 4002  # close codes; the platform's own are unknown (§11)
_LONGEST_TEXT = 100_000  # characters of a message
_MOST = 10  # texts that wait for an answer's end; things done beside the conversation
_CANNOT_HEAR = "This server cannot hear: audio is not recognised here. The page has the browser do it, or please type."


@dataclass(frozen=True)
class Studio:
    """What all sessions share."""

    backend: Backend


class Session:
    """Use `run()`. One answer is spoken at a time. Until its `response.end`, whoever speaks interrupts it."""

    def __init__(self, client: Client, conversation: Conversation, studio: Studio) -> None:
        self.conversation = conversation
        self._client = client
        self._terms = conversation.terms
        self._webhooks = Webhooks(studio.backend, conversation)
        self._account = Account()
        self._answer: Answer | None = None
        self._waiting: deque[str] = deque()
        self._turn = asyncio.Lock()
        self._side: set[asyncio.Task[None]] = set()
        self._user_turn: str | None = None  # between the client's marks
        self._ready = self._told_deaf = self._replaced = False
        self._gone, self._over = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Until the client goes, a newer socket takes the conversation, or an hour has passed. Then `session.end`."""
        try:
            async with asyncio.timeout(LIFE):
                await self._until_gone()
        except TimeoutError:
            await self._client.close(TIMED_OUT, "A session lasts an hour at most, and this one is over.")
        finally:
            await asyncio.shield(asyncio.create_task(self._end()))

    async def replace(self) -> None:
        """A newer socket has come: go, and return once it is settled what was heard."""
        self._replaced = True
        self._gone.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), 2)

    async def _until_gone(self) -> None:
        listening = asyncio.create_task(self._listen())
        listening.add_done_callback(_log_failure)
        listening.add_done_callback(lambda _: self._gone.set())
        try:
            await self._gone.wait()
        finally:
            listening.cancel()
        if self._replaced:
            await self._client.close(
                REPLACED, "This conversation was opened again, in another tab or by another client."
            )

    async def _listen(self) -> None:
        async for message in self._client.messages():
            await self._take(message)

    async def _take(self, message: Mapping[str, Any]) -> None:
        match message:
            case {"type": "client.ready"}:
                await self._welcome()
            case {"type": "client.response.text", "content": str(text)}:
                await self._typed(text)
            case {"type": "client.response.data", "data": data}:
                await self._beside(self._data(data))
            case {"type": "client.audio", "content": str()}:
                await self._deaf()
            case {"type": "vad_events", "event": "vad_start"}:
                if self._may_begin:
                    await self._user_starts()
            case {"type": "trigger.turn.start"}:
                await self._user_starts()
            case {"type": "vad_events", "event": "vad_end"} | {"type": "trigger.turn.end"}:
                await self._user_ends()
            case {"type": "vad_events"} | {
                "type": "trigger.response.audio.replay_finished" | "trigger.response.audio.interrupted"
            }:
                pass  # of no use: completed and interrupted look the same, and come too early (§7.3)
            case {"type": "playground.duplicate"}:
                await self._beside(self._duplicate())
            case _:
                await self._client.error("A message of an unknown type or shape was ignored.")

    # Who speaks.

    async def _welcome(self) -> None:
        if not self._ready:
            self._ready = True
            if self._silent:
                await self._ask("session.start")

    async def _typed(self, text: str) -> None:
        if len(text) > _LONGEST_TEXT:
            await self._client.error(f"That text is longer than {_LONGEST_TEXT:,} characters, so it was not sent.")
        elif not text.strip():
            return
        elif self._may_begin:
            await self._said(text)
        elif len(self._waiting) < _MOST:
            self._waiting.append(text)
        else:
            await self._client.error("Too many texts wait for the end of this answer, so this one was dropped.")

    @property
    def _may_begin(self) -> bool:
        return self._silent or self._terms.config.transcription.can_interrupt

    @property
    def _silent(self) -> bool:
        return self._answer is None and not self._turn.locked()

    async def _user_starts(self) -> None:
        """The client says that the user speaks, by its voice detection or by push to talk: that interrupts."""
        if self._user_turn is None:
            self._user_turn = f"user-{uuid.uuid4()}"
            await self._user_begins(self._user_turn)

    async def _user_ends(self) -> None:
        """The words, if there are any, come as a text: a turn of its own."""
        turn_id, self._user_turn = self._user_turn, None
        if turn_id:
            await self._client.send({"type": "turn.end", "role": "user", "turn_id": turn_id})
            await self._next()

    async def _user_begins(self, turn_id: str) -> None:
        await self._client.send({"type": "turn.start", "role": "user", "turn_id": turn_id})
        await self._interrupt()

    async def _said(self, text: str) -> None:
        """The user's words, as a turn."""
        async with self._turn:
            turn_id = f"user-{uuid.uuid4()}"
            if self._answer:
                await self._user_begins(turn_id)
            await self._client.send({"type": "user.transcript", "content": text, "turn_id": turn_id})
            await self._client.send({"type": "turn.end", "role": "user", "turn_id": turn_id})
            self._account.note("user", text)
            cut, self.conversation.cut = self.conversation.cut, None
            await self._ask("message", text=text, **({"interruption_context": cut.context} if cut else {}))

    async def _ask(self, type_: str, **fields: Any) -> None:
        turn_id = f"turn_{uuid.uuid4().hex}"
        request = Request(encoded(self._webhooks.body(type_, turn_id=turn_id, **fields)))
        self._answer = Answer(turn_id, request, self._webhooks.stream, self._client.send)
        self._answer.begin(self._answered)

    async def _answered(self, answer: Answer) -> None:
        """It was spoken to its end, so no answer before it is the one that the next message follows (§2.3)."""
        self._settle(answer, answer.text)
        if answer.text:
            self.conversation.cut = None
        if self._answer is answer:
            self._answer = None
        await self._next()

    async def _next(self) -> None:
        """The turn of a text that waited for the end of an answer."""
        if self._waiting and self._silent:
            await self._said(self._waiting.popleft())

    async def _interrupt(self) -> None:
        """Drop the answer that is being made or spoken, and remember what was heard of it."""
        answer, self._answer = self._answer, None
        if answer is None:
            return
        cut = answer.cut()
        if answer.text or not self.conversation.cut:  # a resumed session's empty welcome does not count
            self.conversation.cut = cut
        self._webhooks.drop_copies()
        await answer.drop()
        self._settle(answer, cut.heard)
        await self._client.send(cut.message)

    def _settle(self, answer: Answer, heard: str) -> None:
        self._account.note("assistant", heard)
        self._account.waited(answer.waited)

    # Beside the conversation.

    async def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        if len(self._side) >= _MOST:
            work.close()
            await self._client.error(
                "Too much is going on at once, so something was dropped. Send it again, more slowly."
            )
            return
        task = asyncio.create_task(work)
        self._side.add(task)
        task.add_done_callback(self._side.discard)
        task.add_done_callback(_log_failure)

    async def _data(self, data: Any) -> None:
        turn_id = self._answer.turn_id if self._answer else f"turn_{uuid.uuid4().hex}"
        try:
            answer = await self._webhooks.ask(self._webhooks.body("data", turn_id=turn_id, data=data))
        except WebhookFailed as failure:
            await self._client.error(str(failure))
        else:
            if answer is not None:
                await self._client.send({"type": "response.data", "content": answer, "turn_id": turn_id})

    async def _duplicate(self) -> None:
        if self._webhooks.last is None:
            await self._client.error("There is nothing yet to send again.")
            return
        status, same = await self._webhooks.repeat(self._webhooks.last)
        await self._client.send({"type": "playground.duplicated", "status": status, "same": same})

    # The end, and what it needs.

    async def _end(self) -> None:
        for task in list(self._side):
            task.cancel()
        async with self._turn:
            await self._interrupt()
        self._webhooks.drop_copies()
        self._over.set()
        if self._ready:
            with suppress(WebhookFailed):
                await self._report()

    async def _report(self) -> None:
        recording = self._terms.trial.recording
        fields = {"agent_id": self._terms.agent_id, "ip_address": self._client.address, "country_code": None}
        fields["recording_status"] = "enabled" if recording else "disabled"
        await self._webhooks.ask(self._webhooks.body("session.end", **fields, **self._account.closed()))
        if recording:
            fields = {"recording_status": "failed", "error_message": "The local stand-in records nothing."}
            await self._webhooks.ask(
                self._webhooks.body("session.update", **{"metadata": self._terms.metadata, **fields})
            )

    async def _deaf(self) -> None:
        """Say once that nobody listens: a microphone goes on sending."""
        if not self._told_deaf:
            self._told_deaf = True
            await self._client.error(_CANNOT_HEAR)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log_failure(log, "a playground session failed", error)
