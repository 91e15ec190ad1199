"""LangGraph's checkpoints in SQLite, one visit to the database's thread for each.

LangGraph's own asynchronous saver makes six for a read and three for a write, all under one lock, and each waits for
its turn in the event loop: with 200 conversations at once that alone held everything to 60 turns a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.base import CheckpointTuple as Saved
from langgraph.checkpoint.sqlite import SqliteSaver

from agent.storage.serializer import Serializer
from agent.storage.sqlite import SQLite

_PRUNE = tuple(
    f"DELETE FROM {table} WHERE thread_id = ? AND checkpoint_ns = '' AND checkpoint_id <> ?"  # noqa: S608 - ours
    for table in ("writes", "checkpoints")
)


class ThreadedSaver(BaseCheckpointSaver[str]):
    """Of each conversation only the newest checkpoint is kept: each holds the whole state. Not so of the graphs that
    tools run with a memory of their own."""

    def __init__(self, database: SQLite) -> None:
        super().__init__(serde=Serializer())
        self._saver = SqliteSaver(database.connection, serde=self.serde)
        self._database = database

    async def setup(self) -> None:
        await self._database.visit(self._saver.setup)

    async def aget_tuple(self, config: RunnableConfig) -> Saved | None:
        return await self._database.visit(self._saver.get_tuple, config)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return await self._database.visit(self._put, config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        await self._database.visit(self._saver.put_writes, config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        await self._database.visit(self._saver.delete_thread, thread_id)

    def get_next_version(self, current: str | None, channel: None) -> str:
        return self._saver.get_next_version(current, channel)

    def _put(self, config: RunnableConfig, *checkpoint: Any) -> RunnableConfig:
        """In one transaction with the deletion of the older ones: of three, each would be written out by itself."""
        connection = self._database.connection
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            if not config["configurable"].get("checkpoint_ns"):
                for statement in _PRUNE:
                    connection.execute(statement, (config["configurable"]["thread_id"], checkpoint[0]["id"]))
            return self._saver.put(config, *checkpoint)  # which commits
