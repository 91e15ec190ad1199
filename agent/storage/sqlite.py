"""SQLite: one connection, in a thread of its own. Each visit to it is run to its end before the next.

What a visit costs is mostly the way there and back, the more so when the event loop is busy: so what is wanted
together is asked together, and the checkpoints go the same way.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from agent.storage.database import DatabaseError, Query, Row

log = logging.getLogger(__name__)

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


@asynccontextmanager
async def lock_file(path: Path) -> AsyncIterator[None]:
    """Be the only server on the database: DatabaseError when another one is. The system lets go of the lock when the
    process ends, however it does."""
    lock = await asyncio.to_thread(_lock, path)
    try:
        yield
    finally:
        os.close(lock)


def _lock(path: Path) -> int:
    """Not on the database's own file: to close that again would end SQLite's locks."""
    path = path.resolve()
    lock = os.open(path.with_name(f"{path.name}-lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise DatabaseError(
            f"The database {path.name} is in use by another server, and SQLite serves one process: end that one, or"
            " give this one another DATABASE_URL. Postgres serves several."
        ) from None
    except OSError as error:
        log.warning("%s cannot be locked (%s): make sure that no second server uses it", path.name, error.strerror)
    return lock


def _connect(path: Path) -> sqlite3.Connection:
    """Autocommit: no transaction is ever left open by a cancelled task. A new file is its owner's alone."""
    with suppress(OSError):  # it is there, or SQLite says what is wrong
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
    with ExitStack() as unless_opened:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        unless_opened.callback(connection.close)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        unless_opened.pop_all()
    return connection
