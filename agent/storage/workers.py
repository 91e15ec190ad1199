"""Several processes on one database: which of them live, and whose turn a conversation's is.

Any worker may get any webhook. A turn is entered in the journal with its number in the conversation and its worker;
the newest number wins. Each worker looks, once for all its turns, whether one of them has a newer one behind it,
and interrupts that; the newer turn waits for the older one's end, for half a second at most, then takes it over.
A turn that was taken over is told by its worker's name: every write for a turn asks for it. That is what keeps a
worker that was frozen meanwhile from writing what has long been told otherwise. One that is not there at all was
deleted with its conversation (agent/storage/forgetting.py), and goes on to its end.

A worker that has not written for five seconds that it lives is taken for dead, and its turns for crashed; not while
the database is away, when no worker can write.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from agent.failures import logged
from agent.storage.database import Database
from agent.storage.entries import as_json, row_of
from agent.turns import Key, Turn

log = logging.getLogger(__name__)

KEY = "conversation = ? AND turn = ? AND kind = ?"
_OF_MINE = f"{KEY} AND worker = ? AND state = 'running'"
THERE = f"SELECT 1 FROM turns WHERE {KEY}"
MINE = f"SELECT 1 FROM turns WHERE {_OF_MINE}"
LEAVE = f"UPDATE turns SET sent = ? WHERE {_OF_MINE}"  # what was sent so far, for a turn that recovers this one
RELEASE = f"UPDATE turns SET sent = ?, worker = '' WHERE {_OF_MINE}"  # nobody runs it: any worker may

_LOOK = 0.05  # seconds between two looks for newer turns
_PATIENCE = 0.5  # seconds for the end of a turn on another worker
_AGAIN = 0.02  # seconds between two looks for that
_BEAT = 1.0  # seconds
_DEAD_AFTER = 5.0  # seconds
_FORGOTTEN_AFTER = 24 * 3600  # seconds

_NOW = "extract(epoch FROM clock_timestamp())"  # of the database: the workers' own differ
_SEEN = f"INSERT INTO workers (id, seen) VALUES (?, {_NOW}) ON CONFLICT (id) DO UPDATE SET seen = excluded.seen"
_MY_TURNS = (
    "SELECT conversation, turn, kind, EXISTS (SELECT 1 FROM turns WHERE conversation = this.conversation"
    " AND number > this.number) FROM turns AS this WHERE state = 'running' AND worker = ?"
)
_LEFT = f"SELECT EXISTS ({THERE}), EXISTS (SELECT 1 FROM turns WHERE conversation = ?)"
_OLDER = "conversation = ? AND state = 'running' AND number < ? AND worker <> ?"


# The key in `config["configurable"]` of a turn's run: (turn, its worker's name), for the saver of a shared database.
# LangGraph does not store what begins with two underscores.
TURN = "__turn"


class TurnTakenOver(Exception):
    """The turn is another worker's now. Nothing more may be written for it."""


class ConversationDeleted(Exception):
    """The conversation was deleted meanwhile, and the turn's row with it. Nothing more may be written for the turn; its
    answer may still be sent."""


def leaving(turn: Turn, worker: str) -> tuple[str, ...]:
    """The values for LEAVE and RELEASE."""
    return as_json([row_of(sent) for sent in turn.sent]), *turn.request.key, worker


class SingleWorker:
    """The only process on its database. Its turns wait for each other in memory (Agent), and need nothing here.

    name: who this is, in the journal. held: what a statement says that reads a turn to write only while that stays
    as it is.
    """

    name = ""
    held = ""

    async def living(self) -> set[str]:
        """The names of the other workers that may be at work."""
        return set()

    async def may_live(self, worker: str) -> bool:
        """Whether `worker` is another one, and may be at work."""
        return worker != self.name and worker in await self.living()

    @asynccontextmanager
    async def turn(self, turn: Turn, *, is_oldest: bool) -> AsyncIterator[None]:
        """Run a turn, once those before it are over on the other workers too. `is_oldest`: it is known that they
        are."""
        yield


class WorkerPool(SingleWorker):
    """This process, one of several."""

    held = " FOR SHARE"

    def __init__(self, database: Database) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._database = database
        self._running: dict[Key, tuple[Turn, asyncio.Task[None] | None]] = {}
        self._left: set[Key] = set()
        self._some = asyncio.Event()
        self._sure_from = 0.0

    async def living(self) -> set[str]:
        sure = asyncio.get_running_loop().time() >= self._sure_from
        since = f" WHERE seen > {_NOW} - {_DEAD_AFTER}" if sure else ""
        return {name for (name,) in await self._database.fetch(f"SELECT id FROM workers{since}")} - {self.name}

    @asynccontextmanager
    async def turn(self, turn: Turn, *, is_oldest: bool) -> AsyncIterator[None]:
        key = turn.request.key
        self._running[key] = turn, asyncio.current_task()
        self._some.set()
        try:
            if not is_oldest:
                await self._until_older_are_over(turn)
            yield
        finally:
            del self._running[key]
            self._left.discard(key)
            if not self._running:
                self._some.clear()

    async def _until_older_are_over(self, turn: Turn) -> None:
        older = turn.request.conversation_id, turn.number, self.name
        until = turn.now() + _PATIENCE
        while rows := await self._database.fetch(f"SELECT worker FROM turns WHERE {_OLDER}", *older):
            if turn.now() >= until or not {row[0] for row in rows} & await self.living():
                taken = await self._database.execute(f"UPDATE turns SET worker = ? WHERE {_OLDER}", self.name, *older)
                log.warning("conversation=%r: %d turns were taken over from other workers", older[0], taken)
                return
            await asyncio.sleep(_AGAIN)

    async def watch(self) -> None:
        """Until cancelled: interrupt each turn that has a newer one behind it, cancel each that was taken over, and
        enter at once what was sent in an interrupted one, as the newer turn might not wait for its end."""
        while True:
            await self._some.wait()
            await asyncio.sleep(_LOOK)
            with logged(log, "newer turns could not be looked for", level=logging.DEBUG):  # `beat` logs the error
                await self._look()

    async def _look(self) -> None:
        running = dict(self._running)
        rows = await self._database.fetch(_MY_TURNS, self.name)
        superseded = {(conversation, turn, kind): newer for conversation, turn, kind, newer in rows}
        for key, (turn, task) in running.items():
            if key not in self._running or turn.ended:
                continue
            newer, taken_over = superseded.get(key), False
            if newer is None:
                taken_over, newer = (await self._database.fetch(_LEFT, *key, key[0]))[0]
            if newer:
                turn.interrupt()
            if taken_over and task:
                task.cancel()
            elif turn.interrupted and key not in self._left:
                self._left.add(key)
                await self._database.execute(LEAVE, *leaving(turn, self.name))

    async def beat(self) -> None:
        """Write every second that this worker lives, until cancelled. After a while in which that was not possible, no
        other worker is taken for dead until all have had the time to write again."""
        loop = asyncio.get_running_loop()
        last, away = loop.time(), False
        while True:
            await asyncio.sleep(_BEAT)
            with logged(log, "the database is away", level=logging.DEBUG if away else logging.ERROR) as attempt:
                await self.be_seen()
            if attempt.failed:
                away = True
                continue
            if loop.time() - last > 2 * _BEAT:
                self._sure_from = loop.time() + _DEAD_AFTER
                log.warning("the database is back" if away else "this worker was held up")
            last, away = loop.time(), False

    async def be_seen(self) -> None:
        await self._database.execute(_SEEN, self.name)

    async def begin(self) -> None:
        self._sure_from = asyncio.get_running_loop().time() + _DEAD_AFTER
        await self._database.execute(f"DELETE FROM workers WHERE seen < {_NOW} - {_FORGOTTEN_AFTER}")
        await self.be_seen()

    async def leave(self) -> None:
        await self._database.execute("DELETE FROM workers WHERE id = ?", self.name)


@asynccontextmanager
async def open_workers(database: Database, *, shared: bool) -> AsyncIterator[SingleWorker]:
    """This process among those on the database."""
    if not shared:
        yield SingleWorker()
        return
    workers = WorkerPool(database)
    await workers.begin()
    tasks = [asyncio.create_task(workers.watch()), asyncio.create_task(workers.beat())]
    try:
        yield workers
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        with suppress(Exception):
            await workers.leave()
