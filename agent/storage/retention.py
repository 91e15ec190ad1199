"""`RETENTION_DAYS`: conversations in which nothing has happened for so long are deleted.

At the start and then about every hour, one conversation at a time with a pause after each, so that no turn waits for
more than one of them. Any number of workers may do it at once. Not deleted is what tools keep: only `voice forget` asks
them. `gone` is called with each deleted conversation, in a thread, to delete what is kept of it outside the database.
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

Gone = Callable[[str], object]


def _nothing(conversation: str) -> None:
    pass


@asynccontextmanager
async def retention(storage: Storage, days: float | None, gone: Gone = _nothing) -> AsyncIterator[None]:
    """Delete old conversations meanwhile. None: nothing is deleted."""
    task = asyncio.create_task(_keep_expiring(storage, days, gone), name="retention") if days else None
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


async def _keep_expiring(storage: Storage, days: float, gone: Gone) -> None:
    while True:
        with logged(log, "old conversations could not be deleted"):
            erased = await expire(storage, time.time() - days * _DAY, gone)
            log.info("retention: deleted %s", counted(erased))
        await asyncio.sleep(_EVERY * random.uniform(0.8, 1.2))  # noqa: S311 - not for secrets


def counted(numbers: Counter[str]) -> str:
    """`2 checkpoints, 3 turns`: for the log and the terminal."""
    return ", ".join(f"{number} {name}" for name, number in sorted(numbers.items())) or "nothing"
