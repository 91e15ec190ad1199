"""Checkpoints, beside LangGraph's savers: what a run tells its saver, and the newest states, at hand."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint

# In `config["configurable"]` of a turn's run: (turn, its worker's name). Underscored, it is not stored.
TURN = "__turn"

_MOST = 8192  # messages: those of some three hundred conversations
_SECONDS = 600.0


def has_its_state(config: RunnableConfig) -> bool:
    """Whether a turn's own run asks, which is given all of the state: there is nothing to be read for it. A graph that
    a tool runs has the configuration, too, and a memory of its own: its namespace is another."""
    asked = config["configurable"]
    turn, _ = asked.get(TURN, (None, ""))
    return bool(turn and turn.asked.conversation_id == asked["thread_id"] and not asked.get("checkpoint_ns"))


@dataclass
class Kept:
    """What a checkpoint of a conversation holds.

    checkpoint: its id; empty when none was written yet. state: its messages are shared, and must not be changed.
    settled: the turn that has written it is over, knew all that there was, and nobody has begun to think since.
    news: there is more since.
    """

    checkpoint: str
    state: Mapping[str, Any]
    since: float
    settled: bool = False
    news: bool = False

    @property
    def size(self) -> int:
        return 1 + len(self.state.get("messages", ()))


class Newest:
    """The states of conversations as this process has written them, so that the next turn need not read its own.

    Whether one is still the newest only the database can say (`Opening.checkpoint`). What is older than ten minutes
    goes once another one is written: another process may have deleted it.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}  # by conversation, oldest first
        self._size = 0

    def of(self, conversation: str) -> Kept | None:
        return self._kept.get(conversation)

    def written(self, config: RunnableConfig, checkpoint: Checkpoint) -> None:
        if not config["configurable"].get("checkpoint_ns"):
            self._put(config["configurable"]["thread_id"], checkpoint["id"], checkpoint["channel_values"])

    def told(self, conversation: str) -> None:
        """A turn is about to be told all that there is until now."""
        if conversation not in self._kept:
            self._put(conversation, "", {})  # for news that come while it runs
        self._kept[conversation].news = False

    def settled(self, conversation: str) -> None:
        kept = self.of(conversation)
        if kept and kept.checkpoint:
            kept.settled = True

    def add_news(self, conversation: str) -> None:
        """There is something that the next turn must be told."""
        if kept := self.of(conversation):
            kept.news = True

    def drop(self, conversation: str) -> None:
        if kept := self._kept.pop(conversation, None):
            self._size -= kept.size

    def _put(self, conversation: str, checkpoint: str, state: Mapping[str, Any]) -> None:
        before = self.of(conversation)
        self.drop(conversation)
        kept = Kept(checkpoint, state, time.monotonic(), news=before is not None and before.news)
        self._kept[conversation] = kept
        self._size += kept.size
        oldest = next(iter(self._kept))
        while oldest != conversation and (self._size > _MOST or self._kept[oldest].since < kept.since - _SECONDS):
            self.drop(oldest)
            oldest = next(iter(self._kept))
