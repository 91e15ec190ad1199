"""Postgres: one database for any number of workers.

Everything goes through one pool per process, and a statement may meet any of its connections. Statements are prepared,
and the lock under which the tables are made is the session's: a proxy in between must not share out sessions by the
transaction. A connection is tried before it is used, so a server that was away is met with a new one.

A checkpoint is written only by the worker that still has its turn (agent/storage/workers.py), in one transaction with
the look whether that is so.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import lru_cache
from typing import Any, TypeVar, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)

from agent.json_values import strip_nul
from agent.storage.database import Database, DatabaseError, Query, Row
from agent.storage.schema import VERSIONS, upgrade, version_of
from agent.storage.serializer import Serializer
from agent.storage.workers import LEAVE, THERE, TURN, ConversationDeleted, TurnTakenOver, leaving

try:
    import psycopg
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
    from psycopg import AsyncConnection
    from psycopg.rows import DictRow, tuple_row
    from psycopg_pool import AsyncConnectionPool
except ImportError as error:
    raise DatabaseError("For a Postgres database its driver is needed: uv sync --extra postgres.") from error

log = logging.getLogger(__name__)

Pool = AsyncConnectionPool[AsyncConnection[DictRow]]
Connected = AbstractAsyncContextManager[AsyncConnection[Any]]
_Made = TypeVar("_Made")

POOL_SIZE = 10  # connections of one worker, at most
_LOOKS = 3  # for a proxy that pools transactions: it may happen to give a connection the same process again
_CONNECTED = 3.0  # seconds until a connection must be had
_PATIENCE = 15.0  # seconds for which what the journal and the memory want is tried again
_AGAIN = 0.25  # seconds between two tries
_SETUP_LOCK = 7_052_861_940  # any number, the same in each worker
_SETUP_PATIENCE = 60.0  # seconds


class Postgres:
    """A `Database`. connect: gives a connection, such as `pool.connection`. patience: seconds for which a statement is
    tried again while the server is away; only for what may be done twice."""

    def __init__(self, connect: Callable[[], Connected], patience: float = 0.0) -> None:
        self._connect = connect
        self._patience = patience

    async def execute(self, sql: str, *parameters: Any) -> int:
        async def run() -> int:
            async with self._connect() as connection:
                return (await connection.execute(_translated(sql), _storable(parameters))).rowcount

        try:
            return await _patiently(run, self._patience)
        except (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateObject, psycopg.errors.DuplicateTable):
            if not sql.lstrip().startswith("CREATE"):
                raise
            return await run()  # IF NOT EXISTS, and another worker has made it at this moment

    async def execute_each(self, *statements: Query) -> Sequence[int]:
        async def run() -> Sequence[int]:
            async with self._connect() as connection:
                async with connection.pipeline(), connection.transaction():
                    cursors = [await connection.execute(_translated(q), _storable(p)) for q, *p in statements]
                return [cursor.rowcount for cursor in cursors]

        return await _patiently(run, self._patience)

    async def fetch(self, sql: str, *parameters: Any) -> Sequence[Row]:
        return (await self.fetch_each((sql, *parameters)))[0]

    async def fetch_each(self, *queries: Query) -> Sequence[Sequence[Row]]:
        async def run() -> Sequence[Sequence[Row]]:
            async with self._connect() as connection, connection.pipeline():
                cursors = [connection.cursor(row_factory=tuple_row) for _ in queries]
                for cursor, (sql, *parameters) in zip(cursors, queries, strict=True):
                    await cursor.execute(_translated(sql), _storable(parameters))
                return [await cursor.fetchall() for cursor in cursors]

        return await _patiently(run, self._patience)


class FencedSaver(AsyncPostgresSaver):
    """LangGraph's saver, for several workers. `config["configurable"][TURN]` says which turn writes a checkpoint,
    and its worker: TurnTakenOver when it is not that worker's any more, ConversationDeleted when there is no such
    turn. Without it nothing is checked."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool, serde=Serializer())
        self.lock = nullcontext()  # type: ignore[assignment]  # theirs lets one statement at a time; the pool is enough

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await _patiently(lambda: super(FencedSaver, self).aget_tuple(config))

    def get_next_version(self, current: str | None, channel: None) -> str:
        """Theirs is made unique with `random`, which a tool may seed; and every run begins with the first number."""
        number = int(current.partition(".")[0]) if current else 0
        return f"{number + 1:032}.{uuid.uuid4().hex}"

    async def aput(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, versions: ChannelVersions
    ) -> RunnableConfig:
        async def put() -> RunnableConfig:
            async with self._fenced(config) as saver:
                return await saver.aput(config, checkpoint, metadata, versions)

        return await _patiently(put)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        async def put() -> None:
            async with self._fenced(config) as saver:
                await saver.aput_writes(config, writes, task_id, task_path)

        await _patiently(put)

    @asynccontextmanager
    async def _fenced(self, config: RunnableConfig) -> AsyncIterator[AsyncPostgresSaver]:
        """A saver that writes while nobody can take the turn over, in one transaction with what was sent in it."""
        turn, worker = config["configurable"].get(TURN, (None, ""))
        pool = cast(Pool, self.conn)
        async with pool.connection() as connection, connection.transaction():
            if turn and not (await connection.execute(_translated(LEAVE), leaving(turn, worker))).rowcount:
                there = await connection.execute(_translated(THERE), turn.request.key)
                raise TurnTakenOver if await there.fetchone() else ConversationDeleted
            yield AsyncPostgresSaver(connection, serde=self.serde)


@asynccontextmanager
async def open_postgres(url: str) -> AsyncIterator[tuple[FencedSaver, Database, Database]]:
    """The saver, the database, and the same one for what may be tried again. DatabaseError when it cannot be had."""
    try:
        await _set_up(url)
    except psycopg.Error as error:
        raise DatabaseError(f"The Postgres database in DATABASE_URL cannot be opened: {_reason(url, error)}.") from None
    pool: Pool = AsyncConnectionPool(
        url,
        min_size=1,
        max_size=POOL_SIZE,
        open=False,
        timeout=_CONNECTED,
        reconnect_timeout=_CONNECTED,
        check=AsyncConnectionPool.check_connection,
        kwargs={"autocommit": True, "connect_timeout": 5},
    )
    async with pool:
        yield FencedSaver(pool), Postgres(pool.connection), Postgres(pool.connection, _PATIENCE)


async def _set_up(url: str) -> None:
    """Make or upgrade the tables, one worker at a time.

    The lock is asked for again and again: a worker that waits inside Postgres holds a snapshot, for whose end the
    saver's CREATE INDEX CONCURRENTLY would wait, and so the two for each other.
    """
    async with await AsyncConnection.connect(url, autocommit=True, connect_timeout=5) as connection:
        await _expect_sessions(url, connection)
        database = Postgres(lambda: nullcontext(connection))
        if await _is_set_up(database):
            return
        await _until_locked(database)
        try:
            await AsyncPostgresSaver(cast("AsyncConnection[DictRow]", connection)).setup()
            async with connection.transaction():
                await upgrade(database)
        finally:
            await database.execute("SELECT pg_advisory_unlock(?)", _SETUP_LOCK)


async def _expect_sessions(url: str, connection: AsyncConnection[Any]) -> None:
    """DatabaseError behind a proxy that gives a connection to Postgres for one transaction only, as pgbouncer can:
    locks and prepared statements would be lost in the middle of calls.

    A proxy is there when the process that answers is not the one that the handshake named. Of two open connections each
    has a process of its own, which it keeps, unless the proxy pools transactions.
    """
    mine = await _process_of(connection)
    if mine == connection.info.backend_pid:
        return
    try:
        async with (
            asyncio.timeout(_CONNECTED),
            await AsyncConnection.connect(url, connect_timeout=5) as other,  # a transaction begins with its first query
        ):
            pooled = any([await _share(connection, other, mine) for _ in range(_LOOKS)])
    except TimeoutError:
        raise DatabaseError(
            f"The proxy in DATABASE_URL gives no second connection: it must have {POOL_SIZE} for each worker."
        ) from None
    if pooled:
        raise DatabaseError(
            "DATABASE_URL leads to a proxy that pools transactions, such as pgbouncer with pool_mode=transaction. It"
            " must pool sessions (pool_mode=session), or be left out."
        )


async def _share(connection: AsyncConnection[Any], other: AsyncConnection[Any], mine: int) -> bool:
    """Whether `connection` has lost its process, or `other` got it, while `other` is in a transaction."""
    try:
        return await _process_of(other) == mine or await _process_of(connection) != mine
    finally:
        await other.rollback()


async def _process_of(connection: AsyncConnection[Any]) -> int:
    """Which of Postgres's processes answers."""
    row = await (await connection.execute("SELECT pg_backend_pid()")).fetchone()
    return int(row[0]) if row else 0


async def _is_set_up(database: Database) -> bool:
    try:
        newest = await database.fetch("SELECT max(v) FROM checkpoint_migrations")
        return newest[0][0] == len(AsyncPostgresSaver.MIGRATIONS) - 1 and await version_of(database) >= len(VERSIONS)
    except psycopg.errors.UndefinedTable:
        return False


async def _until_locked(database: Database) -> None:
    try:
        async with asyncio.timeout(_SETUP_PATIENCE):
            while not (await database.fetch("SELECT pg_try_advisory_lock(?)", _SETUP_LOCK))[0][0]:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise DatabaseError(
            f"The database's tables are not ready after {_SETUP_PATIENCE:g} seconds: another worker is making them."
        ) from None


async def _patiently(attempt: Callable[[], Awaitable[_Made]], patience: float = _PATIENCE) -> _Made:
    """Do it, and again while the server is away."""
    loop = asyncio.get_running_loop()
    until = loop.time() + patience
    while True:
        try:
            return await attempt()
        except psycopg.OperationalError:
            if loop.time() >= until:
                raise
        await asyncio.sleep(_AGAIN)


@lru_cache(maxsize=256)
def _translated(sql: str) -> bytes:
    return sql.replace("%", "%%").replace("?", "%s").encode()


def _storable(parameters: Sequence[Any]) -> list[Any]:
    return [strip_nul(value) if isinstance(value, str) else value for value in parameters]


def _reason(url: str, error: psycopg.Error) -> str:
    """What the server or its driver says; not when it may have taken a piece of the password for something else."""
    if url.count("@") > 1 or not isinstance(error, psycopg.OperationalError):
        return f"{type(error).__name__}; it must look like postgresql://user@host/database, percent-encoded"
    return str(error).strip().splitlines()[0].rstrip(".")
