"""`RETENTION_DAYS`: conversations in which nothing has happened for so long are deleted.

At the start and then about every hour, one conversation at a time with a pause after each, so that no turn waits for
more than one of them. Any number of workers may do it at once. Not deleted is what tools keep: only `voice forget` asks
them. A clock that is months ahead deletes nothing: see `_Clock`. `gone` is called with each deleted conversation, in a
thread, to delete what is kept of it outside the database.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from agent.failures import logged
from agent.storage.forgetting import erase, expired
from agent.storage.open import Storage

log = logging.getLogger(__name__)

_DAY = 24 * 3600.0  # seconds
_EVERY = 3600.0  # seconds, a fifth more or less: several workers do not stay in step
_PAUSE = 0.05  # seconds
_TRIED = 3 * _DAY  # that a clock has to have been seen to go right

_BETWEEN = (
    "SELECT 1 FROM turns WHERE started BETWEEN ? AND ? LIMIT 1",
    "SELECT 1 FROM notes WHERE at BETWEEN ? AND ? LIMIT 1",
)

Gone = Callable[[str], object]


def _nothing(conversation: str) -> None:
    pass


@asynccontextmanager
async def retention(storage: Storage, days: float | None, gone: Gone = _nothing) -> AsyncIterator[None]:
    """Delete old conversations meanwhile. None: nothing is deleted."""
    task = asyncio.create_task(_keep_expiring(storage, days * _DAY, gone), name="retention") if days else None
    try:
        yield
    finally:
        if task:
            task.cancel()
            await asyncio.wait([task])


async def expire(storage: Storage, before: float, gone: Gone = _nothing) -> Counter[str]:
    """Delete the conversations in which nothing has happened since that time. The number of rows by table."""
    erased: Counter[str] = Counter()
    while conversations := await expired(storage, before):
        batch: Counter[str] = Counter()
        for conversation in conversations:
            batch += await erase(storage, conversation, before)
            await asyncio.to_thread(gone, conversation)
            await asyncio.sleep(_PAUSE)
        if not batch:
            break  # another worker was quicker, and goes on
        erased += batch + Counter(conversations=len(conversations))
    return erased


async def _keep_expiring(storage: Storage, age: float, gone: Gone) -> None:
    clock = _Clock()
    while True:
        with logged(log, "old conversations could not be deleted"):
            await _expire_by(clock, storage, age, gone)
        await asyncio.sleep(_EVERY * random.uniform(0.8, 1.2))  # noqa: S311 - not for secrets


async def _expire_by(clock: _Clock, storage: Storage, age: float, gone: Gone) -> None:
    before = clock.now() - age
    if not await clock.is_right(storage, age) and await expired(storage, before):
        log.warning(
            "RETENTION_DAYS deletes nothing now: between its limit and %.1f days ago nothing happened here, so this"
            " machine's clock may have jumped ahead. If it is right, old conversations are deleted when it has run for"
            " so long.",
            _tried(age) / _DAY,
        )
        return
    log.info("retention: deleted %s", counted(await expire(storage, before, gone)))


class _Clock:
    """Whether this machine's time is likely to be right, before what it calls old is deleted: it has gone evenly for
    three days of this process, or something happened in the database before those and after the limit. After a jump
    over the limit neither is so."""

    def __init__(self, now: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self._monotonic = monotonic
        self._began = now(), monotonic()

    async def is_right(self, storage: Storage, age: float) -> bool:
        if self._went_evenly(_tried(age)):
            return True
        now = self.now()
        for between in _BETWEEN:
            if await storage.database.fetch(between, now - age, now - _tried(age)):
                return True
        return False

    def _went_evenly(self, seconds: float) -> bool:
        passed = self._monotonic() - self._began[1]
        return passed >= seconds and abs(self.now() - self._began[0] - passed) < _EVERY


def _tried(age: float) -> float:
    return min(_TRIED, age / 2)


def counted(numbers: Counter[str]) -> str:
    """`2 checkpoints, 3 turns`: for the log and the terminal."""
    return ", ".join(f"{number} {name}" for name, number in sorted(numbers.items())) or "nothing"
