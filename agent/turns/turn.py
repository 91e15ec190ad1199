"""One turn: what was asked, what has been sent since, and the two ways it can be told to stop.

A turn belongs to the application, not to the HTTP response that reads it: LangGraph loses what it has done
when it is cancelled from a response's task group. Readers may come (a duplicate webhook joins) and go; when
the last one goes before the end, that is a barge-in, and the turn is interrupted, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

from agent.turns.events import CallControl, Event, Say, SentEvent, Show
from agent.turns.request import Summary, TurnRequest
from agent.turns.trace import ModelCall


@dataclass
class ToolCallStatus:
    """A tool call that ran, or runs. `began` in the event loop's time. `late`: its turn did not wait for its end.

    ended: running | finished | failed | timed out | stopped | not started
    """

    name: str
    arguments: dict[str, Any]
    began: float
    seconds: float | None = None
    ended: str = "running"
    late: bool = False


class Turn:
    """The running turn. The graph writes to it, HTTP responses read it.

    admitted: set once the journal holds what was asked, so that nothing can lose it any more.
    number: its place in the conversation, once it is to be run here; 0 before. elsewhere: another worker runs it.
    deadline: when it must be over, in the event loop's time.
    hung_up_after: (events read, ms) when it was interrupted while nobody read it: the caller had hung up.
    model_calls: what the model was asked in this turn, and what came. tools: those that ran.
    checks: by call, what came of the tool's check of it: {arguments} to put in place of its own, or {refused}.
    summary: what this turn took into the memory in place of older messages.
    joined: how many duplicates of the request read it too. repeated: it is itself one, of a turn that is over.
    language: of the conversation, as far as it is known.
    repaired: the memory was not fit for the model as it was. refused: it was never admitted, for lack of room.
    """

    def __init__(self, request: TurnRequest, *, timeout: float, default_language: str = "en") -> None:
        self.request = request
        self.language = request.language
        self._default_language = default_language
        self.number = 0
        self.elsewhere = False
        self.events: list[SentEvent] = []
        self.interrupted = False
        self.hung_up_after: tuple[int, int] | None = None
        self.model_calls: list[ModelCall] = []
        self.tools: list[ToolCallStatus] = []
        self.checks: dict[str, dict[str, Any]] = {}
        self.summary: Summary | None = None
        self.late: Sequence[str] = ()
        self.ended = False
        self.ended_ms: int | None = None
        self.failed = False
        self.joined = 0
        self.repeated = False
        self.repaired = False
        self.refused = False
        self._loop = asyncio.get_running_loop()
        self.admitted = asyncio.Event()
        self.began = self._loop.time()
        self.deadline = self.began + timeout
        self._read = 0
        self._readers = 0
        self._news = asyncio.Event()
        self._scopes: set[asyncio.Timeout] = set()

    # What a reader uses.

    @contextmanager
    def reader(self) -> Iterator[None]:
        """Held while somebody reads. When the last one lets go before the end, that is a barge-in."""
        self._readers += 1
        try:
            yield
        finally:
            self._readers -= 1
            if not self._readers:
                self.interrupt()

    async def stream(self) -> AsyncIterator[Event]:
        """Every event from the first on, as they come, until the turn ends. Never raises for the turn's sake."""
        await self.admitted.wait()
        position = 0
        while True:
            while position < len(self.events):
                yield self.events[position].event
                position += 1
                self._read = max(self._read, position)
            if self.ended:
                return
            self._news.clear()
            await self._news.wait()

    # What the agent uses.

    def say(self, text: str, of: str | None = None) -> None:
        """Speak. Utterances are set apart by a space, as the platform joins whatever it is sent."""
        if not text or self.silenced:
            return
        last = self.last_said
        if last is not None and (of is None or last.of != of):
            text = " " + text
        self._emit(Say(text, of))

    def progress(self, line: str) -> bool:
        """Speak a line that is not the model's, unless it would be the same line twice in a row. Whether it was."""
        last = self.last_said
        if not line or self.silenced or (last and last.of is None and last.text.strip() == line):
            return False
        self.say(line)
        return True

    def show(self, data: Any) -> None:
        if not self.silenced:
            self._emit(Show(data))

    def control(self, control: CallControl) -> None:
        if not self.silenced:
            self._emit(control)

    @property
    def ends_call(self) -> bool:
        """Whether the call is to be hung up or transferred after this turn."""
        controls = (sent.event for sent in self.events if isinstance(sent.event, CallControl))
        return any(control.action != "send_dtmf" for control in controls)

    def interrupt(self) -> None:
        """Stop what can be stopped: whatever waits in `stoppable` goes on at once."""
        if self.silenced:
            return
        self.interrupted = True
        if not self._readers:
            self.hung_up_after = self._read, self._ms()
        for scope in self._scopes:
            if not scope.expired():
                scope.reschedule(self._loop.time())
        self._scopes.clear()
        self._wake()

    def admit(self) -> None:
        """The journal holds what was asked: it may be read."""
        self.admitted.set()

    def replay(self, sent: Sequence[SentEvent]) -> None:
        """Send the events of an earlier run of the same request, all at once."""
        self.repeated = True
        self.events = list(sent)
        self._wake()

    def end(self) -> None:
        """No more events. Readers finish."""
        if not self.ended:
            self.ended, self.ended_ms = True, self._ms()
        if not self.admitted.is_set():
            self.admit()  # readers wait for that
        self._wake()

    @contextmanager
    def stoppable(self, scope: asyncio.Timeout) -> Iterator[None]:
        """Inside `async with asyncio.timeout(...) as scope`, let an interruption end the block at once."""
        if self.interrupted:
            scope.reschedule(self._loop.time())
        else:
            self._scopes.add(scope)
        try:
            yield
        finally:
            self._scopes.discard(scope)

    @property
    def first_words_ms(self) -> int | None:
        return next((sent.ms for sent in self.events if isinstance(sent.event, Say)), None)

    @property
    def first_token_ms(self) -> int | None:
        """Of any attempt, also one that came to nothing."""
        call = next((call for call in self.model_calls if call.chunks), None)
        return round((call.began + call.chunks[0][0]) * 1000) if call else None

    @property
    def speaks(self) -> str:
        """The language of the fixed lines."""
        return self.language or self._default_language

    def speak_in(self, language: str) -> None:
        """The model says that the caller speaks this language, or a kind of it. What the platform tells counts more."""
        if not (self.request.language or f"{self.speaks}-".startswith(f"{language}-")):
            self.language = language

    @property
    def outcome(self) -> str:
        """repeated | interrupted | failed | answered"""
        if self.repeated:
            return "repeated"
        return "interrupted" if self.interrupted else "failed" if self.failed else "answered"

    @property
    def tool_calls(self) -> list[tuple[str, dict[str, Any]]]:
        """(name, arguments) of the tools that ran."""
        return [(tool.name, tool.arguments) for tool in self.tools]

    @property
    def trace(self) -> dict[str, Any]:
        """What replay needs beside what was asked and sent, in JSON: {models: [ModelCall], hung_up: [events, ms] |
        null}, and if there are any, summary: {text, until}, late: [keys of earlier turns' calls it was told of] and
        checks."""
        more = {
            "summary": asdict(self.summary) if self.summary else None,
            "late": list(self.late),
            "checks": self.checks,
        }
        kept = {name: value for name, value in more.items() if value}
        return {"models": [call.to_json() for call in self.model_calls], "hung_up": self.hung_up_after, **kept}

    def now(self) -> float:
        return self._loop.time()

    @property
    def times_said(self) -> int:
        return sum(isinstance(sent.event, Say) for sent in self.events)

    @property
    def silenced(self) -> bool:
        """True when nothing that is said now can reach the caller."""
        return self.interrupted or self.ended

    @property
    def last_said(self) -> Say | None:
        return next((sent.event for sent in reversed(self.events) if isinstance(sent.event, Say)), None)

    @property
    def sent(self) -> list[SentEvent]:
        """What has left: all of it, or after an interruption what a reader had taken by then."""
        return self.events[: self._read] if self.interrupted else self.events

    @property
    def spoken(self) -> str:
        """All the words that have left, progress lines included."""
        return "".join(sent.event.text for sent in self.sent if isinstance(sent.event, Say))

    def sent_text(self, of: str) -> str:
        """The words of one assistant message that have left."""
        return _text(self.sent, of)

    def said(self, of: str) -> str:
        """The words of one assistant message so far, sent or not."""
        return _text(self.events, of)

    async def sleep(self, seconds: float) -> None:
        """Wait, but not beyond an interruption or the deadline."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(min(self.now() + seconds, self.deadline)) as scope:
                with self.stoppable(scope):
                    await asyncio.Event().wait()

    def _emit(self, event: Event) -> None:
        self.events.append(SentEvent(self._ms(), event))
        self._wake()

    def _ms(self) -> int:
        return round((self._loop.time() - self.began) * 1000)

    def _wake(self) -> None:
        self._news.set()


def _text(events: Sequence[SentEvent], of: str) -> str:
    return "".join(s.event.text for s in events if isinstance(s.event, Say) and s.event.of == of).strip()
