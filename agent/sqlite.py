"""SQLite: one connection, in a thread of its own. Each visit to it is run to its end before the next.

What a visit costs is mostly the way there and back, the more so when the event loop is busy: so what is wanted
together is asked together, and the checkpoints go the same way.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from agent.database import Query, Row

_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000", "secure_delete=ON")

Made = TypeVar("Made")


class SQLite:
    """A `Database`. Use `open_sqlite()`."""

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor) -> None:
        self.connection = connection
        self._thread = thread

    async def execute(self, sql: str, *parameters: Any) -> int:
        return await self.visit(self._execute, sql, parameters)

    async def fetch(self, sql: str, *parameters: Any) -> Sequence[Row]:
        return await self.visit(self._fetch, sql, parameters)

    async def fetch_each(self, *queries: Query) -> Sequence[Sequence[Row]]:
        return await self.visit(lambda: [self._fetch(sql, parameters) for sql, *parameters in queries])

    async def visit(self, work: Callable[..., Made], *arguments: Any) -> Made:
        """Do it in the connection's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _execute(self, sql: str, parameters: Sequence[Any]) -> int:
        return self.connection.execute(sql, parameters).rowcount

    def _fetch(self, sql: str, parameters: Sequence[Any]) -> Sequence[Row]:
        return self.connection.execute(sql, parameters).fetchall()


class InLoopSQLite:
    """A `Database` that lives in this process and uses no thread: for replay, where time is virtual."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None)

    async def execute(self, sql: str, *parameters: Any) -> int:
        return self._connection.execute(sql, parameters).rowcount

    async def fetch(self, sql: str, *parameters: Any) -> Sequence[Row]:
        return self._connection.execute(sql, parameters).fetchall()

    async def fetch_each(self, *queries: Query) -> Sequence[Sequence[Row]]:
        return [await self.fetch(*query) for query in queries]

    def close(self) -> None:
        self._connection.close()


@asynccontextmanager
async def open_sqlite(path: Path) -> AsyncIterator[SQLite]:
    """sqlite3.Error when the database cannot be opened."""
    with ThreadPoolExecutor(1, "sqlite") as thread:
        connection = await asyncio.get_running_loop().run_in_executor(thread, _connect, path)
        database = SQLite(connection, thread)
        try:
            yield database
        finally:
            await database.visit(connection.close)


def _connect(path: Path) -> sqlite3.Connection:
    """Autocommit: no transaction is ever left open by a cancelled task."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection
