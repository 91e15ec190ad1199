"""The caller's side of a simulated call: speaks, listens at the pace of speech, interrupts, hangs up."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol

from agent.llm import Usage
from agent.memory import count_words
from agent.turns import Observer, Turn
from api.platforms import ClientEvent, PlatformClient
from api.platforms.playback import SECONDS_PER_CHARACTER
from api.replay import Heard
from api.simulate.conversation import ENDS, Conversation, Exchange, now
from api.simulate.steps import Dtmf, Duplicate, HangUp, Say, Silence, Step, Words

_LOOK = 0.05  # seconds between two looks at what has been heard
_REPEATED_AFTER = 0.1  # seconds, when the platform sends the same twice
_LINGERS = 1.0  # seconds until the caller's end of the line is given up


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

    _client: PlatformClient

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._began = now()
        self._news = asyncio.Event()
        self._streams: defaultdict[int, Heard] = defaultdict(Heard)  # by answer
        self._turns: list[Turn] = []
        self._repeat: Heard | None = None  # the stream of the words that were sent once more

    def turn_began(self, turn: Turn) -> None:
        """A repeated request has a turn of its own, which is the exchange's only if it is not taken for the same."""
        self._turns.append(turn)
        exchange = self._conversation.exchanges[-1]
        if exchange.turn is None:
            exchange.turn = turn
        elif self._repeat is not None and turn.request.turn_id != exchange.turn_id:
            self._left(exchange)
            self._begin(exchange.said, self._repeat).turn = turn
            self._repeat = None

    def language(self) -> str:
        """In which the agent speaks."""
        turn = self._conversation.exchanges[-1].turn
        return turn.speaks if turn else "en"

    def seconds(self) -> float:
        """Of the call."""
        return now() - self._began

    def usage(self) -> Usage:
        """Of the agent's model, so far."""
        calls = [call for turn in self._turns for call in turn.model_calls]
        tokens = [call.tokens for call in calls]
        read, written = sum(one for one, _ in tokens), sum(one for _, one in tokens)
        return Usage(len(calls), read, written, sum(call.seconds for call in calls))

    async def call(self, client: PlatformClient, caller: Caller) -> None:
        """The call, from its beginning to its end."""
        self._client = client
        listening = asyncio.create_task(self._take_down(), name="caller")
        try:
            await self._exchange("", client.begin)
            async for step in caller.steps(self._conversation):
                if self._conversation.ends == "open":
                    await self._do(step)
                    self._see_the_end()
                else:
                    self._conversation.unsaid.append(in_words(step))
            await asyncio.sleep(_LINGERS)
        finally:
            self._see_the_end()
            listening.cancel()

    def settle(self) -> None:
        """Take down how it was, once the agent is at rest."""
        for exchange in self._conversation.exchanges:
            exchange.tools = exchange.turn.tools if exchange.turn else ()
        self._conversation.seconds = self.seconds()

    async def _do(self, step: Step) -> None:
        match step:
            case Say():
                await asyncio.sleep(step.pause)
                self._see_the_end()
                if self._conversation.ends != "open":
                    self._conversation.unsaid.append(in_words(step))
                    return
                await asyncio.sleep(len(step.say) * SECONDS_PER_CHARACTER)
                await self._exchange(step.say, lambda: self._client.say(step.say), step)
            case Dtmf():
                await self._exchange(f"[{step.dtmf}]", lambda: self._client.press(step.dtmf), step)
            case Silence():
                await asyncio.sleep(step.silence)
            case Duplicate():
                await asyncio.sleep(_REPEATED_AFTER)
                stream = await self._repeated()
                while stream.over is None:
                    self._news.clear()
                    await self._news.wait()
                last = self._conversation.exchanges[-1]
                if last.stream is stream:  # it was not taken for the same
                    await self._listen(None)
                else:
                    last.again.append(stream)
            case HangUp():
                await self._client.hang_up()
                self._conversation.ends = "hung up by the caller"

    async def _exchange(self, said: str, ask: Callable[[], Awaitable[None]], step: Say | Dtmf | None = None) -> None:
        for last in self._conversation.exchanges[-1:]:
            last.told = last.told or last.seconds(now())
        self._repeat = None
        exchange = self._begin(said, self._streams[self._client.answers + 1])
        before = self._client.answers
        await ask()
        if self._client.answers == before:  # the call begins where the agent cannot speak first
            exchange.stream = Heard(ended=1, over=0)
            return
        if isinstance(step, Say) and step.duplicate:
            await asyncio.sleep(_REPEATED_AFTER)
            exchange.again.append(exchange.stream)
            exchange.stream = await self._repeated()
        until = step.interrupt_after if step else None
        await self._listen(until)
        if until is not None and self._conversation.exchanges[-1].cut is None:
            self._conversation.unsaid.append(f"an interruption {_after(until)} of the answer")

    def _begin(self, said: str, stream: Heard) -> Exchange:
        exchange = Exchange(len(self._conversation.exchanges), said, self.seconds(), stream, began=now())
        self._conversation.exchanges.append(exchange)
        return exchange

    def _left(self, exchange: Exchange) -> None:
        """The connection is lost, and the same words begin another turn on the next one: the rest is not heard."""
        if exchange.again:
            exchange.stream = exchange.again.pop()
        if exchange.stream.over is None:
            exchange.cut = exchange.told = exchange.seconds(now())
            exchange.heard = exchange.playback().heard(exchange.cut)
            exchange.stream.over, exchange.stream.hung_up = round(exchange.cut * 1000), True

    async def _repeated(self) -> Heard:
        """The platform sends the last request once more: the stream that answers it."""
        self._repeat = self._streams[self._client.answers + 1]
        stream = self._repeat
        await self._client.duplicate()
        return stream

    async def _listen(self, until: Words | float | None) -> None:
        """Until the newest answer has been heard to its end, or so much of it."""
        cut = False
        while not cut:
            await asyncio.sleep(_LOOK)
            exchange = self._conversation.exchanges[-1]
            into, ends_at = exchange.seconds(now()), exchange.playback().ends_at
            exchange.heard = exchange.playback().heard(into)
            if exchange.stream.over is not None and into >= ends_at:
                return
            cut = until is not None and _has_heard(exchange, into, until)
        exchange.cut = into
        await self._client.interrupt(exchange.heard)
        if self._client.abilities.heard != "derived":  # there the next words tell of it
            exchange.told = exchange.cut

    async def _take_down(self) -> None:
        """What comes from the agent."""
        while True:
            event = await self._client.event()
            self._take(event, self._streams[event.answer])

    def _take(self, event: ClientEvent, stream: Heard) -> None:
        exchange = next((one for one in self._conversation.exchanges if one.stream is stream), None)
        began = exchange.began if exchange else self._conversation.exchanges[-1].began
        ms = round((event.at - began) * 1000)
        if event.kind in ("say", "show", "control"):
            stream.sent.append((ms, event.kind, event.content))
        elif stream.over is None:
            stream.over = ms
            stream.ended += event.kind == "end" and event.content == "complete"
            stream.hung_up = not stream.ended
        self._news.set()

    def _see_the_end(self) -> None:
        """The platform has ended the call, or transferred it, as the agent wished."""
        for exchange in self._conversation.exchanges if self._conversation.ends == "open" else ():
            for _, kind, content in exchange.stream.sent if exchange.cut is None else ():
                if kind == "control" and content["action"] in ENDS:
                    self._conversation.ends = ENDS[content["action"]]


def _has_heard(exchange: Exchange, into: float, until: Words | float) -> bool:
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
