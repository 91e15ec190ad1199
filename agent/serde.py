"""What LangGraph's savers are given: how checkpoints become bytes, and what stands for them in the configuration."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Any, NamedTuple

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

# In `config["configurable"]`; underscored, it is not stored.
KEPT = "__kept"  # a `Kept`
TURN = "__turn"  # which turn writes the next checkpoint, and its worker's name

_MESSAGES = 8192  # those of two hundred conversations
_SECONDS = 600.0  # for which they are kept


class Kept(NamedTuple):
    """A conversation's newest checkpoint, which was read before."""

    conversation: str
    newest: CheckpointTuple | None


def kept_in(config: RunnableConfig) -> Kept | None:
    """What was read before of what is asked for. A graph that a tool runs has the configuration, too, and a memory of
    its own: its namespace is another."""
    asked = config["configurable"]
    kept: Kept | None = asked.get(KEPT)
    return kept if kept and kept.conversation == asked["thread_id"] and not asked.get("checkpoint_ns") else None


class Serializer(JsonPlusSerializer):
    """LangGraph's own, but a message that was put together for an earlier turn is not put together again: that is most
    of what it costs to read a checkpoint. Messages that it gives out are shared, and must not be changed.

    The first read after ten minutes begins anew: another process may have deleted what is kept.
    """

    def __init__(self) -> None:
        self._made = lru_cache(_MESSAGES)(JsonPlusSerializer()._unpack_ext_hook)
        self._since = time.monotonic()
        super().__init__(__unpack_ext_hook__=self._made)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        if time.monotonic() - self._since > _SECONDS:
            self.forget()
        return super().loads_typed(data)

    def forget(self) -> None:
        """Keep nothing of what was read."""
        self._made.cache_clear()
        self._since = time.monotonic()
