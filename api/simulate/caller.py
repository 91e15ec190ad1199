"""The caller's side of a simulated call: speaks, listens at the pace of speech, interrupts, hangs up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from fastapi import FastAPI

from agent.memory import count_words
from agent.observer import Observer
from agent.replay import run_file as runs
from agent.turns import Turn
from api.platforms.playback import SECONDS_PER_CHARACTER
from api.replay import FakePlatform
from api.simulate.conversation import Conversation, Exchange, now
from api.simulate.scenario import World
from api.simulate.steps import Duplicate, HangUp, Say, Silence, Step, Words

_LOOK = 0.05  # seconds between two looks at what has been heard
_REPEATED_AFTER = 0.1  # seconds, when the platform sends the same twice at once


class Caller(Protocol):
    """Who calls. steps: what they do next, once what they did before is over."""

    def steps(self, conversation: Conversation) -> AsyncIterator[Step]: ...


class ScriptedCaller:
    def __init__(self, script: Sequence[Step]) -> None:
        self._script = script

    async def steps(self, conversation: Conversation) -> AsyncIterator[Step]:
        for step in self._script:
            yield step


class CallerSide(Observer):
    """One call. The conversation grows while it is held."""

    _app: FastAPI

    def __init__(self, world: World, conversation: Conversation) -> None:
        self._world = world
        self._conversation = conversation
        self._began = now()
        self._turns: dict[str, Turn] = {}
        self._heard: dict[str, Any] = {}  # what the next webhook reports
        self._talking: list[asyncio.Task[Any]] = []
        self._lines: list[FakePlatform] = []  # those that carry the present answer

    def turn_over(self, turn: Turn) -> None:
        self._turns.setdefault(turn.request.turn_id, turn)  # that of a repeated request is another one

    def seconds(self) -> float:
        """Of the call."""
        return now() - self._began

    async def call(self, app: FastAPI, caller: Caller) -> None:
        """The call, from its beginning to its end."""
        self._app = app
        await self._exchange("", {"kind": "welcome"})
        async for step in caller.steps(self._conversation):
            if self._conversation.ends != "open":
                self._conversation.unsaid.append(in_words(step))
                continue
            await self._do(step)

    async def settle(self) -> None:
        """Wait for what is still on its way, and take down how it was."""
        await asyncio.gather(*self._talking)
        for exchange in self._conversation.exchanges:
            exchange.turn = self._turns.get(exchange.turn_id)
            exchange.tools = exchange.turn.tools if exchange.turn else ()
        self._conversation.seconds = self.seconds()

    async def _do(self, step: Step) -> None:
        match step:
            case Say():
                await asyncio.sleep(step.pause + len(step.say) * SECONDS_PER_CHARACTER)
                exchange = await self._exchange(step.say, {"kind": "message", "text": step.say}, step)
                if step.interrupt_after is not None and exchange.cut is None:
                    self._conversation.unsaid.append(f"an interruption {_after(step.interrupt_after)} of the answer")
            case Silence():
                await asyncio.sleep(step.silence)
            case Duplicate():
                await self._repeat(self._conversation.exchanges[-1])
            case HangUp():
                self._conversation.ends = "hung up by the caller"

    async def _exchange(self, said: str, fields: dict[str, Any], step: Say | None = None) -> Exchange:
        number = len(self._conversation.exchanges)
        turn_id = f"turn_{number}"
        webhook: Any = {
            "conversation_id": self._conversation.name, "turn_id": turn_id, "caller": self._world.caller,
            "metadata": self._world.metadata, **self._heard, **fields,
        }  # fmt: skip
        self._heard, self._last = {}, webhook
        exchange = Exchange(number, turn_id, said, self.seconds(), (platform := self._platform()).heard)
        self._conversation.exchanges.append(exchange)
        self._lines = [platform]
        self._talking.append(asyncio.create_task(platform.talk()))
        if step and step.duplicate:
            self._talking.append(asyncio.create_task(self._repeat(exchange)))
        await self._listen(exchange, step.interrupt_after if step else None)
        return exchange

    def _platform(self) -> FakePlatform:
        return FakePlatform(self._app, runs.RecordedTurn(at=0, webhook=self._last))

    async def _repeat(self, exchange: Exchange) -> None:
        """Send the last words once more."""
        await asyncio.sleep(_REPEATED_AFTER)
        self._lines.append(platform := self._platform())
        exchange.again.append(await platform.talk())

    async def _listen(self, exchange: Exchange, until: Words | float | None) -> None:
        """Until the answer has been heard to its end, or so much of it."""
        began = now()
        while True:
            await asyncio.sleep(_LOOK)
            playback, into = exchange.playback(), now() - began
            exchange.heard = playback.heard(into)
            if until is not None and _has_heard(exchange, into, until):
                break
            if exchange.stream.over is not None and into >= playback.ends_at:
                return
        exchange.cut = into
        for line in self._lines:
            line.drop()
        self._heard = {"heard": {"turn_id": exchange.turn_id, "text": exchange.heard}}


def _has_heard(exchange: Exchange, into: float, until: Words | float) -> bool:
    """Whether it is time to interrupt: before the end of the answer, or never."""
    if exchange.stream.over is not None and into >= exchange.playback().ends_at:
        return False
    if isinstance(until, Words):
        return count_words(exchange.heard) >= until
    return exchange.first_words is not None and into - exchange.first_words >= until


def _after(until: Words | float) -> str:
    return f"after {until} words" if isinstance(until, Words) else f"after {until:g} s"


def in_words(step: Step) -> str:
    """What the caller does, for people."""
    match step:
        case Say():
            return f'"{step.say}"'
        case Silence():
            return f"a silence of {step.silence:g} s"
        case HangUp():
            return "hanging up"
        case Duplicate():
            return "the same words once more"
        case _:
            return f"the keys {step.dtmf}"
