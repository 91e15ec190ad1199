"""A call over a socket: what the caller says begins turns, one at a time, and their words go out as they come."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

from agent.agent import Agent, Stopping
from agent.calls import HOW_ENDED
from agent.failures import logged
from agent.languages import Texts
from agent.tooling import HowEnded
from agent.turns import CallControl, HeardKind, HeardReport, Kind, Say, TooBusy, Turn, TurnRequest
from api.platforms.playout import Playout
from api.platforms.tasks import cancel

log = logging.getLogger(__name__)


class Line(Protocol):
    """How a platform's socket carries what a turn gives."""

    async def say(self, text: str) -> None: ...

    async def end_answer(self) -> None:
        """The answer is complete."""
        ...

    async def cut_answer(self) -> None:
        """No more comes of it: the caller has interrupted."""
        ...

    async def control(self, control: CallControl) -> None: ...


@dataclass(frozen=True)
class Caller:
    """Who calls, and over what. number: the caller's phone number, if the platform tells one. language: in which the
    call begins, if that is known."""

    conversation_id: str
    platform: str
    number: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    abilities: frozenset[str] = frozenset()
    language: str = ""


class Call:
    """One caller on one socket. apology: said when no turn can be begun, in a language, or in the default one for "".

    interrupted: the caller has spoken into an answer, and no turn has begun since.
    """

    def __init__(self, agent: Callable[[], Agent], line: Line, caller: Caller, apology: Callable[[str], str]) -> None:
        self.playout = Playout()
        self._agent = agent
        self._line = line
        self._caller = caller
        self._apology = apology
        self._language = caller.language
        self.interrupted = False
        self._holder = uuid.uuid4().hex
        self._heard: HeardReport | None = None
        self._turn_id: str | None = None
        self._speaking: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()

    async def open(self, heard: HeardReport | None = None) -> None:
        """The socket is there. heard: what another one that carried the call has left untold."""
        self._heard = heard
        await self._agent().calls.open(self._caller.conversation_id, self._caller.platform, self._holder)

    async def begin(
        self,
        turn_id: str,
        text: str = "",
        kind: Kind = "message",
        heard: HeardReport | None = None,
        language: str = "",
        frames: Sequence[tuple[int, Mapping[str, Any]]] = (),
        line: Texts = "",
        then: CallControl | None = None,
    ) -> None:
        """The caller has said something, or the call begins. It interrupts the answer to what was said before; the same
        turn again gets its answer from the beginning. heard: of an earlier turn, where the platform tells it now.
        language: in which it was said, if that is told. frames, line: see `TurnRequest`. then: what becomes of the call
        after the answer."""
        async with self._one_at_a_time:
            if turn_id != self._turn_id:
                await self._stop()
            self._language = language or self._language
            request = TurnRequest(
                conversation_id=self._caller.conversation_id,
                turn_id=turn_id,
                kind=kind,
                text=text,
                heard=heard or self._heard,
                caller=self._caller.number,
                metadata=self._caller.metadata,
                abilities=self._caller.abilities,
                language=self._language,
                platform=self._caller.platform,
                frames=frames,
                line=line,
                resume=True,
            )
            self._turn_id, self._heard, self.interrupted = turn_id, None, False
            self.playout.begin()
            before, begun = self._speaking, asyncio.Event()
            self._speaking = asyncio.create_task(self._answer(request, begun, then), name="answer")
            await begun.wait()  # from here on an interruption ends an answer that was begun, with its last frame
            if before:  # it must not let go of the turn before the new one holds it
                await cancel(before)

    async def interrupt(self, heard: str | None, kind: HeardKind) -> None:
        """The caller speaks while an answer is played. heard: its words that were spoken by then, if they are told."""
        async with self._one_at_a_time:
            self.interrupted = True
            await self._stop()
            self.playout.stop()
            if heard is not None and self._turn_id is not None:
                self._heard = HeardReport(heard, self._turn_id, kind)
                self._keep(self._heard)

    @property
    def is_quiet(self) -> bool:
        """Whether the agent neither speaks nor does anything."""
        answering = self._speaking is not None and not self._speaking.done()
        return not answering and self.playout.is_over and not self._agent().is_at_work(self._caller.conversation_id)

    async def close(self, how: HowEnded) -> None:
        """The line is gone. how: as far as its end shows."""
        async with self._one_at_a_time:
            await self._stop()
        if self.playout.played and not self.playout.is_over and self._turn_id is not None:
            self._keep(HeardReport(self.playout.played, self._turn_id, "fragment"))
        if self._keeping:
            await asyncio.wait([self._keeping])
        await self._agent().calls.close(self._caller.conversation_id, self._holder, how)

    def _keep(self, heard: HeardReport) -> None:
        """The next turn is told of it; there may be none, or on another socket. The caller's words do not wait."""
        self._keeping = asyncio.create_task(self._kept(heard, self._keeping), name="heard")

    async def _kept(self, heard: HeardReport, before: asyncio.Task[None] | None) -> None:
        if before:
            await asyncio.wait([before])
        with logged(log, "what was heard could not be kept"):
            await self._agent().heard(self._caller.conversation_id, heard)

    async def _stop(self) -> None:
        """End the present answer, and what would come after it."""
        task, self._speaking = self._speaking, None
        if task:
            await cancel(task)

    async def _answer(self, request: TurnRequest, begun: asyncio.Event, then: CallControl | None) -> None:
        with ExitStack() as stack:
            try:
                turn = await self._agent().begin(request)
                stack.enter_context(turn.reader())
            except (TooBusy, Stopping):
                log.warning("no turn can be begun: MAX_TURNS says how many may run, or the server stops")
                await self._apologise()
                return
            finally:
                begun.set()
            controls = [*await self._speak(turn), *([then] if then else [])]
        if turn.refused:
            await self._apologise()
            return
        await self._line.end_answer()
        if controls:
            await self.playout.finished()
        for control in controls:
            if how := "timed out" if control is then else HOW_ENDED.get(control.action):
                await self._agent().calls.mark(self._caller.conversation_id, how)
            await self._line.control(control)

    async def _speak(self, turn: Turn) -> list[CallControl]:
        """Send the turn's words as they come. What it wants done to the call is returned."""
        controls: list[CallControl] = []
        try:
            async for event in turn.stream():
                if isinstance(event, Say):
                    self.playout.sent(event.text)
                    await self._line.say(event.text)
                elif isinstance(event, CallControl):
                    controls.append(event)
        except asyncio.CancelledError:
            await self._line.cut_answer()
            raise
        return controls

    async def _apologise(self) -> None:
        apology = self._apology(self._language)
        self.playout.sent(apology)
        await self._line.say(apology)
        await self._line.end_answer()
