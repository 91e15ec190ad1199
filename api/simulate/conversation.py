"""A conversation that was held with a simulated caller, and what is to be read off it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agent.replay import Performed
from agent.turns import ToolCallStatus, Turn
from api.platforms.playback import SECONDS_PER_CHARACTER, Playback
from api.replay import Heard, words_of

ENDS = {"hang_up": "hung up by the agent", "transfer": "transferred"}  # by `CallControl.action`


@dataclass
class Exchange:
    """Words of the caller's, or a beginning, and what came of it.

    number: of the turn, from 1; 0 is the beginning of the call. at: when the request came, in seconds of the call;
        began: the same in the event loop's time.
    stream: what the platform got. again: what it got when it sent the same once more, or before that.
    cut: seconds into the answer when the caller interrupted it. told: when the agent could know of that.
    heard: the agent's words that were heard.
    turn: as the agent had it; None when it had none, and once the conversation is settled. tools: that ran.
    """

    number: int
    said: str
    at: float
    stream: Heard
    again: list[Heard] = field(default_factory=list)
    cut: float | None = None
    told: float | None = None
    heard: str = ""
    turn: Turn | None = None
    tools: Sequence[ToolCallStatus] = ()
    began: float = 0.0

    def seconds(self, at: float) -> float:
        """Into the answer, at that time of the event loop's."""
        return at - self.began

    @property
    def turn_id(self) -> str:
        return self.turn.request.turn_id if self.turn else ""

    @property
    def words(self) -> str:
        """All that was sent to be spoken."""
        return words_of(self.stream.sent)

    @property
    def unheard(self) -> str:
        """The rest of them, which the caller did not hear."""
        return self.words[len(self.heard) :].strip()

    @property
    def spoken(self) -> list[tuple[float, str]]:
        """Words, and seconds into the answer when they came."""
        return [(ms / 1000, content) for ms, kind, content in self.stream.sent if kind == "say"]

    def playback(self) -> Playback:
        """How it is spoken. Times are seconds into the answer."""
        playback = Playback()
        for at, words in self.spoken:
            playback.add(words, len(words) * SECONDS_PER_CHARACTER, at)
        return playback

    @property
    def first_words(self) -> float | None:
        return next((at for at, _ in self.spoken), None)

    def silences(self) -> list[tuple[float, float]]:
        """When nothing was spoken, as (from, seconds); until the answer was over, or cut."""
        over = self.cut if self.cut is not None else (self.stream.over or 0) / 1000
        ends, gaps = 0.0, []
        for piece in self.playback().pieces:
            gaps.append((ends, piece.starts - ends))
            ends = piece.ends
        return [(since, seconds) for since, seconds in [*gaps, (ends, over - ends)] if seconds > 0]


@dataclass
class Conversation:
    """name: the scenario's. exchanges: in order. performed: calls of tools' functions. ends: who ended the call.
    unexpected: what the scenario has nothing for, as (turn id, words). unsaid: what of the script came to nothing.
    seconds: how long the call took."""

    name: str
    exchanges: list[Exchange] = field(default_factory=list)
    performed: Sequence[Performed] = ()
    ends: str = "open"
    unexpected: Sequence[tuple[str, str]] = ()
    unsaid: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def heard(self) -> str:
        """All that the caller heard, a line for each answer."""
        return "\n".join(exchange.heard for exchange in self.exchanges)

    def turn_at(self, at: float) -> str:
        """The id of the turn that had begun last, so many seconds into the call."""
        return next((exchange.turn_id for exchange in reversed(self.exchanges) if exchange.at <= at), "")

    @property
    def tool_calls(self) -> list[tuple[Exchange, str, dict[str, Any]]]:
        """The tools that ran."""
        return [(one, tool.name, tool.arguments) for one in self.exchanges for tool in one.tools]

    def settled(self) -> Conversation:
        """It, without what belongs to a running agent."""
        return replace(self, exchanges=[replace(exchange, turn=None) for exchange in self.exchanges])


def now() -> float:
    return asyncio.get_running_loop().time()
