"""LangGraph's checkpoints in SQLite, one visit to the database's thread for each.

LangGraph's own asynchronous saver makes six for a read and three for a write, all under one lock, and each waits for
its turn in the event loop: with 200 conversations at once that alone held everything to 60 turns a second.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.base import CheckpointTuple as Saved
from langgraph.checkpoint.sqlite import SqliteSaver

_PRUNE = tuple(
    f"""DELETE FROM {table} WHERE thread_id = ? AND checkpoint_ns = '' AND checkpoint_id <
    (SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = '')"""  # noqa: S608 - ours
    for table in ("writes", "checkpoints")
)

Made = TypeVar("Made")


class ThreadedSaver(BaseCheckpointSaver[str]):
    """Use `open_saver()`. Of each conversation only the newest checkpoint is kept: each holds the whole state."""

    def __init__(self, thread: ThreadPoolExecutor, connection: sqlite3.Connection) -> None:
        self._saver = SqliteSaver(connection)
        super().__init__(serde=self._saver.serde)
        self._thread = thread
        self._connection = connection

    async def setup(self) -> None:
        await self._do(self._saver.setup)

    async def aget_tuple(self, config: RunnableConfig) -> Saved | None:
        return await self._do(self._saver.get_tuple, config)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return await self._do(self._put, config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        await self._do(self._saver.put_writes, config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        await self._do(self._saver.delete_thread, thread_id)

    def get_next_version(self, current: str | None, channel: None) -> str:
        return self._saver.get_next_version(current, channel)

    def _put(self, config: RunnableConfig, *checkpoint: Any) -> RunnableConfig:
        put = self._saver.put(config, *checkpoint)
        conversation = config["configurable"]["thread_id"]
        for statement in _PRUNE:
            self._connection.execute(statement, (conversation, conversation))
        return put

    async def _do(self, work: Callable[..., Made], *arguments: Any) -> Made:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)


@asynccontextmanager
async def open_saver(path: Path) -> AsyncIterator[ThreadedSaver]:
    """sqlite3.Error when the database cannot be opened."""
    thread = ThreadPoolExecutor(1, "checkpoints")
    try:
        saver = await asyncio.get_running_loop().run_in_executor(thread, _open, thread, path)
        yield saver
        await saver._do(saver._connection.close)
    finally:
        thread.shutdown()


def _open(thread: ThreadPoolExecutor, path: Path) -> ThreadedSaver:
    """Autocommit: no transaction is ever left open."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}")
        saver = ThreadedSaver(thread, connection)
        saver._saver.setup()
    except BaseException:
        connection.close()
        raise
    return saver
