"""SQLite: one connection, in a thread of its own. Each visit to it is run to its end before the next.

What a visit costs is mostly the way there and back, the more so when the event loop is busy: so what is wanted
together is asked together, and the checkpoints go the same way.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from agent.storage.database import Query, Row

_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000", "secure_delete=ON")

Made = TypeVar("Made")


class SQLite:
    """A `Database`. Use `open_sqlite()`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._thread = ThreadPoolExecutor(1, "sqlite")
        self._closed = False

    async def execute(self, sql: str, *parameters: Any) -> int:
        return await self.visit(self._execute, sql, parameters)

    async def execute_each(self, *statements: Query) -> Sequence[int]:
        return await self.visit(self._execute_each, statements)

    async def fetch(self, sql: str, *parameters: Any) -> Sequence[Row]:
        return await self.visit(self._fetch, sql, parameters)

    async def fetch_each(self, *queries: Query) -> Sequence[Sequence[Row]]:
        return await self.visit(lambda: [self._fetch(sql, parameters) for sql, *parameters in queries])

    def visit(self, work: Callable[..., Made], *arguments: Any) -> Awaitable[Made]:
        """Have it done in the connection's thread, after what was asked before."""
        if self._closed:
            raise sqlite3.ProgrammingError("The database is closed.")
        return asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def close(self) -> None:
        closing = self.visit(self.connection.close)
        self._closed = True
        await closing
        await asyncio.to_thread(self._thread.shutdown)

    def _execute(self, sql: str, parameters: Sequence[Any]) -> int:
        return self.connection.execute(sql, parameters).rowcount

    def _execute_each(self, statements: Sequence[Query]) -> Sequence[int]:
        with self.connection:  # commits at its end, or rolls back
            self.connection.execute("BEGIN IMMEDIATE")
            return [self._execute(sql, parameters) for sql, *parameters in statements]

    def _fetch(self, sql: str, parameters: Sequence[Any]) -> Sequence[Row]:
        return self.connection.execute(sql, parameters).fetchall()


class InLoopSQLite(SQLite):
    """One that lives in this process and uses no thread: for replay, where time is virtual."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)

    async def visit(self, work: Callable[..., Made], *arguments: Any) -> Made:
        return work(*arguments)

    async def close(self) -> None:
        self.connection.close()


@asynccontextmanager
async def open_sqlite(path: Path) -> AsyncIterator[SQLite]:
    """sqlite3.Error when the database cannot be opened."""
    database = SQLite(await asyncio.to_thread(_connect, path))
    try:
        yield database
    finally:
        await database.close()


def _connect(path: Path) -> sqlite3.Connection:
    """Autocommit: no transaction is ever left open by a cancelled task."""
    with ExitStack() as unless_opened:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        unless_opened.callback(connection.close)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        unless_opened.pop_all()
    return connection
