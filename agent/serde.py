"""Checkpoints as bytes, and back. A conversation's messages are the same from turn to turn but for the newest: one that
was put together for an earlier turn is not put together again, which is most of what it costs to read a checkpoint."""

from __future__ import annotations

from functools import lru_cache

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

_KEPT = 8192  # messages: those of two hundred conversations


class Serializer(JsonPlusSerializer):
    """LangGraph's own. Messages that it gives out are shared, and must not be changed."""

    def __init__(self) -> None:
        self._made = lru_cache(_KEPT)(JsonPlusSerializer()._unpack_ext_hook)
        super().__init__(__unpack_ext_hook__=self._made)

    def forget(self) -> None:
        """Keep nothing of what was read."""
        self._made.cache_clear()
