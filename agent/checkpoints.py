"""Checkpoints, beside LangGraph's savers: what a run tells its saver, and the newest states, at hand."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint

# In `config["configurable"]` of a turn's run: (turn, its worker's name). Underscored, it is not stored.
TURN = "__turn"

_MESSAGES = 8192  # those of two hundred conversations
_SECONDS = 600.0


def is_of_a_turn(config: RunnableConfig) -> bool:
    """Whether a turn's own run asks, which has been given all of the state: there is nothing to be read for it. A graph
    that a tool runs has the configuration, too, and a memory of its own: its namespace is another."""
    asked = config["configurable"]
    turn, _ = asked.get(TURN, (None, ""))
    return bool(turn and turn.asked.conversation_id == asked["thread_id"] and not asked.get("checkpoint_ns"))


@dataclass
class Left:
    """What a conversation's newest checkpoint holds, as far as this process knows.

    state: its messages are shared, and must not be changed. settled: the turn that has left it is over, and knew all
    that there was; news: there is more since.
    """

    checkpoint: str
    state: Mapping[str, Any]
    since: float
    settled: bool = False
    news: bool = False


class Newest:
    """The states of conversations as this process has written them, so that the next turn need not read its own.

    Whether one is still the newest only the database can say (`Admitted.checkpoint`). None is kept for long after ten
    minutes: another process may have deleted it.
    """

    def __init__(self) -> None:
        self._left: dict[str, Left] = {}  # by conversation, oldest first
        self._messages = 0

    def of(self, conversation: str) -> Left | None:
        return self._left.get(conversation)

    def written(self, config: RunnableConfig, checkpoint: Checkpoint) -> None:
        if not config["configurable"].get("checkpoint_ns"):
            self._put(config["configurable"]["thread_id"], checkpoint["id"], checkpoint["channel_values"])

    def told(self, conversation: str) -> None:
        """A turn is about to be told all that there is until now."""
        if conversation not in self._left:
            self._put(conversation, "", {})
        self._left[conversation].news = False

    def settle(self, conversation: str) -> None:
        left = self._left.get(conversation)
        if left and left.checkpoint:
            left.settled = True

    def unsettle(self, conversation: str) -> None:
        """There is something that the next turn must be told."""
        if left := self._left.get(conversation):
            left.news = True

    def drop(self, conversation: str) -> None:
        if left := self._left.pop(conversation, None):
            self._messages -= _length(left.state)

    def _put(self, conversation: str, checkpoint: str, state: Mapping[str, Any]) -> None:
        news = conversation in self._left and self._left[conversation].news
        self.drop(conversation)
        self._left[conversation] = Left(checkpoint, state, time.monotonic(), news=news)
        self._messages += _length(state)
        while self._messages > _MESSAGES or self._oldest() < time.monotonic() - _SECONDS:
            self.drop(next(iter(self._left)))

    def _oldest(self) -> float:
        return next((left.since for left in self._left.values()), math.inf)


def _length(state: Mapping[str, Any]) -> int:
    return len(state.get("messages", ()))
