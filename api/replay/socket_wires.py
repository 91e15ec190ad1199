"""A recorded conversation on its platform's socket: one call, in which each turn is asked for as it was."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from agent.replay import run_file as runs
from api.platforms import CallDetails, ClientEvent, Network, PlatformClient
from api.platforms.conversation_relay import RelayClient
from api.platforms.speech_engine import SpeechEngineClient
from api.replay.heard import SECRET, Heard, carried

Client = TypeVar("Client", bound=PlatformClient)
_LONGEST_PLAYING = 150.0  # seconds until the server leaves a call that it ends, once everything has been said


@dataclass
class _Asked:
    """A turn that was asked for. answer: of the client's. start: of its part of what was on the wire. zero: when it
    began, in the event loop's time."""

    turn: runs.RecordedTurn
    heard: Heard
    answer: int
    start: int
    zero: float


class _SocketWire(ABC, Generic[Client]):
    def __init__(self, client: Client) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._in_order = asyncio.Lock()
        self._asked: list[_Asked] = []
        self._events: defaultdict[int, list[ClientEvent]] = defaultdict(list)
        self._closed = False
        self._news = asyncio.Event()
        self._listening = asyncio.create_task(self._listen(), name="caller")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.cancel()
        await self._client.drop()

    @abstractmethod
    async def _ask(self, turn: runs.RecordedTurn, zero: float) -> None:
        """Send what began a turn."""

    async def _signal(self, turn: runs.RecordedTurn, asked: _Asked) -> None:
        """Send what came while it was answered or played."""

    async def talk(self, turn: runs.RecordedTurn) -> Heard:
        zero = self._loop.time() + ahead(turn) / 1000
        async with self._in_order:
            self._client.reads = _said_by(turn, turn.hung_up.events) if turn.hung_up else None
            start = len(self._client.wire)
            await self._ask(turn, zero)
            asked = _Asked(turn, Heard(), self._client.answers, start, zero)
            self._asked.append(asked)
            self._news.set()
            await self._signal(turn, asked)
        await self._until(lambda: self._is_over(asked.answer) or self._client.answers > asked.answer)
        self._take_down()
        return asked.heard

    async def settle(self, *, call_ends: bool) -> None:
        if call_ends:
            async with asyncio.timeout(_LONGEST_PLAYING):
                await self._until(lambda: self._closed)
        self._take_down()

    async def _listen(self) -> None:
        while True:
            event = await self._client.event()
            self._events[event.answer].append(event)
            self._closed = event.kind == "closed"
            self._news.set()

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._news.clear()
            await self._news.wait()

    async def _until_ms(self, zero: float, ms: int) -> None:
        await asyncio.sleep(max(0.0, zero + ms / 1000 - self._loop.time()))

    def _is_over(self, answer: int) -> bool:
        return self._closed or any(event.kind in ("end", "failed") for event in self._events[answer])

    def _has_said(self, answer: int) -> int:
        return sum(event.kind == "say" for event in self._events[answer])

    def _take_down(self) -> None:
        """What has come of each turn so far."""
        ends = [*(asked.start for asked in self._asked[1:]), len(self._client.wire)]
        for asked, end in zip(self._asked, ends, strict=True):
            heard, events = asked.heard, self._events[asked.answer]
            heard.sent, heard.over, heard.ended = [], None, 0
            for event in events:
                heard.take(event, asked.zero)
            heard.hung_up = not heard.ended
            wire = self._client.wire[asked.start : end]
            heard.frames = [(round((at - asked.zero) * 1000), way, frame) for at, way, frame in wire]


class RelayWire(_SocketWire[RelayClient]):
    """A phone call. The frames in the file say when it was interrupted and which keys were pressed."""

    def __init__(self, network: Network, call: CallDetails) -> None:
        super().__init__(RelayClient(network, call, SECRET))
        self._prompts = 0
        self._words = ""

    async def _ask(self, turn: runs.RecordedTurn, zero: float) -> None:
        self._client.language = turn.webhook.get("language", "")
        session, _, number = turn.webhook["turn_id"].rpartition(".")
        if session != self._client.session or not self._client.is_connected:
            self._client.session, self._prompts = session, 0
            if turn.webhook["kind"] == "welcome":
                await self._client.begin()
                return
            await self._client.connect()
        while self._prompts < int(number) - 1:  # sent again after a reconnect: no turn of its own
            await self._say(self._words)
        keys = keys_of(turn)
        if not keys:
            await self._say(turn.webhook.get("text", ""))
            return
        for ms, frame in keys:
            await self._until_ms(zero, ms)
            await self._client.signal(frame)
        self._client.pressed()
        self._prompts += 1

    async def _say(self, words: str) -> None:
        self._words = words
        self._prompts += 1
        await self._client.say(words)

    async def _signal(self, turn: runs.RecordedTurn, asked: _Asked) -> None:
        interrupted = False
        for ms, frame in _signals(turn):
            await self._until_ms(asked.zero, ms)
            if frame["type"] == "interrupt" and not interrupted:
                interrupted = True
                await self._until_heard(turn, asked)
            await self._client.signal(frame)
        if turn.hung_up and not interrupted:
            await self._until_ms(asked.zero, turn.hung_up.ms)
            await self._until_heard(turn, asked)
            await self._client.signal({"type": "interrupt"})

    async def _until_heard(self, turn: runs.RecordedTurn, asked: _Asked) -> None:
        """As much has been said as then, when the caller interrupted."""
        if turn.hung_up is None:
            await self._until(lambda: self._is_over(asked.answer))
            return
        least = _said_by(turn, turn.hung_up.events)
        await self._until(lambda: self._has_said(asked.answer) >= least or self._is_over(asked.answer))


class EngineWire(_SocketWire[SpeechEngineClient]):
    """A conversation on Speech Engine, where only the next words interrupt."""

    def __init__(self, network: Network, call: CallDetails) -> None:
        super().__init__(SpeechEngineClient(network, call, SECRET))

    async def _ask(self, turn: runs.RecordedTurn, zero: float) -> None:
        if not self._client.is_connected:
            await self._client.connect()
        heard = turn.webhook.get("heard")
        self._client.words = heard["text"] if heard else ""
        self._client.event_id = int(turn.webhook["turn_id"]) - 1
        await self._client.say(turn.webhook.get("text", ""))


def ahead(turn: runs.RecordedTurn) -> int:
    """How many ms before a turn the first key was pressed that asked for it."""
    return -min([0, *(ms for ms, _ in keys_of(turn))])


def was_cut_off(turn: runs.RecordedTurn) -> bool:
    """Whether the caller has spoken into a turn's answer, or its playing."""
    return turn.interrupted or any(frame["type"] == "interrupt" for _, frame in _signals(turn))


def keys_of(turn: runs.RecordedTurn) -> list[tuple[int, dict[str, Any]]]:
    """The keys by which a turn was asked for."""
    return [(ms, frame) for ms, frame in _frames(turn, ("dtmf",)) if ms <= 0]


def _signals(turn: runs.RecordedTurn) -> list[tuple[int, dict[str, Any]]]:
    return [(ms, frame) for ms, frame in _frames(turn, ("interrupt", "dtmf", "info")) if ms > 0]


def _frames(turn: runs.RecordedTurn, types: Sequence[str]) -> list[tuple[int, dict[str, Any]]]:
    sent = [(ms, frame) for ms, way, frame in turn.frames if way == "in"]
    return [(ms, frame) for ms, frame in sent if isinstance(frame, dict) and frame.get("type") in types]


def _said_by(turn: runs.RecordedTurn, events: int) -> int:
    """How many of a turn's first events are words: the others do not go over a socket."""
    return carried(turn, events, frozenset({"say"}))
