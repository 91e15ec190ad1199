"""Where everything is kept: LangGraph's checkpointer, and a small database beside it for journal and tools.

SQLite (`sqlite:///voice.db`, `sqlite:////abs/path.db`): one process. WAL, synchronous NORMAL: a commit
survives a killed process; a power cut may cost the last moments, never the file.
The two use connections of their own, so that a checkpoint's commit is not a journal entry's.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiosqlite
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

Row = tuple[Any, ...]

_PRUNE = """DELETE FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = '' AND checkpoint_id <
    (SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = '')"""

_THREAD_ENDS = 0.1  # seconds; the thread of a connection that failed tells the event loop so, once more


class DatabaseError(Exception):
    """The database cannot be opened. The text is one sentence for the operator."""


class Database(Protocol):
    """SQL with `?` for parameters. Each call is a transaction of its own."""

    async def execute(self, sql: str, *parameters: Any) -> int:
        """Run one statement; the number of rows it changed."""

    async def fetch(self, sql: str, *parameters: Any) -> Sequence[Row]:
        """Run one statement (a query, or a change with RETURNING); its rows."""


@dataclass(frozen=True)
class Memory:
    """saver: the conversations, for the graph. database: the journal's and the tools' tables."""

    saver: BaseCheckpointSaver[str]
    database: Database

    async def prune(self, conversation: str) -> None:
        """Forget all checkpoints of a conversation but the newest: each holds the whole state."""
        if isinstance(self.saver, AsyncSqliteSaver):
            await self.database.execute(_PRUNE, conversation, conversation)


class SQLite:
    """A `Database` on one connection. The lock keeps each statement and its commit together."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self._lock = asyncio.Lock()

    async def execute(self, sql: str, *parameters: Any) -> int:
        async with self._lock:
            cursor = await self._connection.execute(sql, parameters)
            return cursor.rowcount

    async def fetch(self, sql: str, *parameters: Any) -> Sequence[Row]:
        async with self._lock:
            return [tuple(row) for row in await self._connection.execute_fetchall(sql, parameters)]


class InLoopSQLite:
    """A `Database` that lives in this process and uses no thread: for replay, where time is virtual."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None)

    async def execute(self, sql: str, *parameters: Any) -> int:
        return self._connection.execute(sql, parameters).rowcount

    async def fetch(self, sql: str, *parameters: Any) -> Sequence[Row]:
        return self._connection.execute(sql, parameters).fetchall()

    def close(self) -> None:
        self._connection.close()


@asynccontextmanager
async def open_passing_memory() -> AsyncIterator[Memory]:
    """Memory that is gone afterwards."""
    database = InLoopSQLite()
    try:
        yield Memory(InMemorySaver(), database)
    finally:
        database.close()


@asynccontextmanager
async def open_memory(url: str) -> AsyncIterator[Memory]:
    """Open `url`, making its tables as needed. DatabaseError when that cannot be done."""
    path = _sqlite_path(url)
    async with AsyncExitStack() as stack:
        try:
            saver = AsyncSqliteSaver(await _connect(path, stack))
            await saver.setup()
            database = SQLite(await _connect(path, stack))
        except aiosqlite.Error as error:
            raise DatabaseError(f"The database {url} cannot be opened: {error}.") from error
        yield Memory(saver, database)


def _sqlite_path(url: str) -> Path:
    if not url.startswith("sqlite:///"):
        raise DatabaseError(f"DATABASE_URL must look like sqlite:///voice.db, not {url.split(':')[0]}:….")
    return Path(url.removeprefix("sqlite:///"))


async def _connect(path: Path, stack: AsyncExitStack) -> aiosqlite.Connection:
    """A connection that `stack` closes. Autocommit: no transaction is ever left open by a cancelled task."""
    connecting = aiosqlite.connect(path, isolation_level=None)
    try:
        connection = await stack.enter_async_context(connecting)
    except BaseException:
        await asyncio.sleep(_THREAD_ENDS)
        raise
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000"):
        await connection.execute(f"PRAGMA {pragma}")
    return connection
