"""A limit on how many run at once. A few more may wait for a moment; the others are refused."""

from __future__ import annotations

import asyncio


class TooBusy(Exception):
    """The limit is reached. Nothing was begun or kept; the same request may succeed in a moment."""


class ConcurrencyLimit:
    """places: how many may be inside. queue: how many may wait for that, each at most `patience` seconds."""

    def __init__(self, places: int, queue: int, patience: float = 1.0) -> None:
        self._places = asyncio.Semaphore(places)
        self._queue = queue
        self._patience = patience
        self._waiting = 0

    async def enter(self) -> None:
        """Take a place, until `leave()`. TooBusy when none becomes free in time."""
        if not self._places.locked():
            await self._places.acquire()
            return
        if self._waiting >= self._queue:
            raise TooBusy
        self._waiting += 1
        try:
            async with asyncio.timeout(self._patience):
                await self._places.acquire()
        except TimeoutError:
            raise TooBusy from None
        finally:
            self._waiting -= 1

    def leave(self) -> None:
        self._places.release()
