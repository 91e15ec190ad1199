"""A platform's part in one call, played towards a server: for replay, simulated callers, `voice say` and tests.

    async with in_process(app) as network, open_client("relay", network, secrets, CallDetails("CA1")) as client:
        await client.begin()
        greeting = await client.answer()
        await client.say("What is the weather?")
        while (event := await client.event()).kind == "say": ...
        await client.interrupt("It is fourteen")
        await client.say("And tomorrow?")

Each platform has its own in its folder, client.py; clients.py opens them by name. What a platform cannot do raises
Unsupported: see `abilities`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

from api.platforms.abilities import Abilities
from api.platforms.network import Network

_NOTICED = 0.001  # seconds

EventKind = Literal["say", "show", "control", "end", "failed", "closed"]


class Unsupported(Exception):
    """The platform has no such thing."""


@dataclass(frozen=True)
class CallDetails:
    """What a platform tells of a call. number: the caller's. metadata: what the page or the TwiML passes on."""

    conversation_id: str
    number: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ClientEvent:
    """What comes of an answer.

    at: in the event loop's time. answer: which one it belongs to, counted from 1: `client.answers` is the newest.
    kind, content:
        say      words
        show     JSON for the page
        control  {action, value, reason} of what is to become of the call, as `CallControl` has it
        end      "complete", or "cut" when it was interrupted
        failed   a sentence: there is no answer, or no rest of it
        closed   None: the server has left the call
    """

    at: float
    answer: int
    kind: EventKind
    content: Any = None


class PlatformClient(ABC):
    """One call. Its answers are read as they come, in tasks of its own, until `drop()`, `hang_up()`, or the end of
    `async with`.

    must_begin: nothing can be said before `begin()`. answers: how many have been asked for so far. wire: (time, "in" to
    the server or "out" of it, frame), all of them.
    reads: of the newest answer only so many `say`, `show` and `control` are read, and the rest stays on the wire, as
    with a stalled peer, until it is interrupted or something else is asked; None: all.
    """

    abilities: ClassVar[Abilities]
    must_begin: ClassVar[bool] = False

    def __init__(self, network: Network, call: CallDetails) -> None:
        self.call = call
        self.answers = 0
        self.wire: list[tuple[float, Literal["in", "out"], Any]] = []
        self._network = network
        self._events: asyncio.Queue[ClientEvent] = asyncio.Queue()
        self._reads: int | None = None
        self._read_of_newest = 0
        self._is_cut = False
        self._go_on_reading = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @property
    def reads(self) -> int | None:
        return self._reads

    @reads.setter
    def reads(self, events: int | None) -> None:
        self._reads = events
        self._read_on()

    # What the caller does.

    @abstractmethod
    async def begin(self) -> None:
        """The call begins. There is an answer to it, if only an empty one, where the agent may speak first. Unreachable
        when a socket cannot be opened."""

    @abstractmethod
    async def say(self, text: str) -> None:
        """The caller's words, complete. An answer that is still running is not interrupted by it."""

    @abstractmethod
    async def duplicate(self) -> None:
        """The platform sends the last request once more, as its retries do; from here on only that answer is read. A
        connection that has been lost is opened again first."""

    @abstractmethod
    async def interrupt(self, heard: str | None = None) -> None:
        """The caller speaks into the newest answer, or into its playing. No more events of it come than are there, and
        one `end`, unless it had ended.

        heard: all of its words that were spoken by then; the platform reports it in its own way. None: no report.
        """

    async def press(self, digits: str) -> None:
        """Keys. With `#` at their end they are complete at once, else after a pause."""
        raise Unsupported("this platform has no keys")

    async def send_data(self, data: Any) -> None:
        """The page sends JSON."""
        raise Unsupported("this platform has no page")

    @abstractmethod
    async def hang_up(self) -> None:
        """The caller leaves the call, and the platform says so where it can."""

    @abstractmethod
    async def drop(self) -> None:
        """The connection is lost, without a word."""

    async def taken(self) -> None:
        """Wait until the server has taken the newest request, or refused it. On a socket that is not told."""
        return

    # What comes.

    async def event(self) -> ClientEvent:
        """The next event, when it comes."""
        return await self._events.get()

    async def newest(self) -> ClientEvent:
        """The next event of the newest answer, or `closed`. Those of older answers are passed over."""
        while (event := await self.event()).answer != self.answers and event.kind != "closed":
            pass
        return event

    async def answer(self) -> list[ClientEvent]:
        """The events of the newest answer up to its `end`, or to where it failed or the call was closed."""
        came = [await self.newest()]
        while came[-1].kind not in ("end", "failed", "closed"):
            came.append(await self.newest())
        return came

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.drop()

    # For the platforms.

    def _new_answer(self) -> int:
        self.answers += 1
        self._read_of_newest, self._is_cut = 0, False
        self._read_on()
        return self.answers

    def _cut(self) -> None:
        """The newest answer is interrupted."""
        self._is_cut = True
        self._read_on()
        self._emit(self.answers, "end", "cut")

    def _read_on(self) -> None:
        """What was held back is read once the server has seen what was sent just now."""
        self._loop.call_later(_NOTICED, self._go_on_reading.set)

    def _log(self, direction: Literal["in", "out"], frame: Any) -> None:
        self.wire.append((self._loop.time(), direction, frame))

    def _emit(self, answer: int, kind: EventKind, content: Any = None) -> None:
        if answer == self.answers and kind in ("say", "show", "control"):
            self._read_of_newest += 1
        self._events.put_nowait(ClientEvent(self._loop.time(), answer, kind, content))

    async def _may_read(self) -> None:
        """Wait while `reads` forbids to read on."""
        while self._reads is not None and self._read_of_newest >= self._reads and not self._is_cut:
            self._go_on_reading.clear()
            await self._go_on_reading.wait()


def words_of(events: Iterable[ClientEvent]) -> str:
    """What was said."""
    return "".join(event.content for event in events if event.kind == "say")
