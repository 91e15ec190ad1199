"""Where everything is kept: LangGraph's checkpointer, and a small database beside it for journal and tools.

SQLite (`sqlite:///voice.db`, `sqlite:////abs/path.db`): one process. WAL, synchronous NORMAL: a commit survives a
killed process; a power cut may lose the last moments, but does not damage the file. What is deleted is overwritten.

Postgres (`postgresql://user@host/database`): any number of processes; see agent/storage/postgres.py.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver

from agent.storage.database import Database, DatabaseError
from agent.storage.schema import upgrade
from agent.storage.sqlite import InLoopSQLite, SQLite, lock_file, open_sqlite
from agent.storage.sqlite_saver import ThreadedSaver

_PRUNED_EVERY = 10  # turns; that is a dozen statements


@dataclass(frozen=True)
class Storage:
    """saver: the conversations, for the graph. database: the tools' tables, and the journal's. journal: the same
    database, for what may be asked again while it is away. shared: whether other processes use it too. now: the Unix
    time that is entered."""

    saver: BaseCheckpointSaver[str]
    database: Database
    journal: Database
    shared: bool = False
    now: Callable[[], float] = time.time

    async def state(self, conversation: str) -> Mapping[str, Any]:
        """What a conversation's newest checkpoint holds; empty when there is none."""
        saved = await self.saver.aget_tuple({"configurable": {"thread_id": conversation}})
        return saved.checkpoint["channel_values"] if saved else {}

    async def delete_state(self, conversation: str) -> None:
        """Delete a conversation's checkpoints."""
        await self.saver.adelete_thread(conversation)

    async def prune(self, conversation: str, turn: int) -> None:
        """Forget the older checkpoints of a conversation, each of which holds the whole state, where the saver does
        not do that itself. `turn`: its number."""
        if self.shared and turn % _PRUNED_EVERY == 0:
            await self.saver.aprune([conversation])

    async def wipe(self) -> bool:
        """Let go of the bytes of what was deleted, as far as the database can do that beside its other users.
        Whether it could."""
        if not isinstance(self.database, SQLite):
            return True
        busy, *_ = (await self.database.fetch("PRAGMA wal_checkpoint(TRUNCATE)"))[0]
        return not busy


@asynccontextmanager
async def open_temporary_storage(now: Callable[[], float] = time.time) -> AsyncIterator[Storage]:
    """Memory that is gone afterwards. now: see `Storage`."""
    database = InLoopSQLite()
    try:
        await upgrade(database)
        yield replace(await _on_sqlite(database), now=now)
    finally:
        await database.close()


@asynccontextmanager
async def open_storage(url: str, *, alone: bool = False) -> AsyncIterator[Storage]:
    """Open `url`, making or upgrading its tables as needed. DatabaseError when that cannot be done. alone: to serve
    from it, which only one process may do at a time if it is a file."""
    if is_shared(url):
        from agent.storage.postgres import open_postgres

        async with open_postgres(url) as (shared_saver, shared, journal):
            yield Storage(shared_saver, shared, journal, shared=True)
        return
    async with AsyncExitStack() as stack:
        try:
            path = _sqlite_path(url)
            if alone:
                await stack.enter_async_context(lock_file(path))
            database = await stack.enter_async_context(open_sqlite(path))
            storage = await _on_sqlite(database)
            await _upgrade(database)
        except (sqlite3.Error, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise DatabaseError(f"The database {url} cannot be opened: {reason}.") from error
        yield storage


def is_shared(url: str) -> bool:
    """Whether a database serves more than one process."""
    return url.startswith(("postgresql://", "postgres://"))


async def _on_sqlite(database: SQLite) -> Storage:
    saver = ThreadedSaver(database)
    await saver.setup()
    return Storage(saver, database, database)


async def _upgrade(database: SQLite) -> None:
    """A process that begins meanwhile waits, for as long as `busy_timeout` says."""
    await database.execute("BEGIN IMMEDIATE")
    end = "ROLLBACK"
    try:
        await upgrade(database)
        end = "COMMIT"
    finally:
        await database.execute(end)


def _sqlite_path(url: str) -> Path:
    if not url.startswith("sqlite:///"):
        raise DatabaseError(
            "DATABASE_URL must look like sqlite:///voice.db or postgresql://user@host/database,"
            f" not {url.split(':')[0]}:…."
        )
    return Path(url.removeprefix("sqlite:///"))
