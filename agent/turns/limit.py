"""A gate: so many at once, a few waiting for a moment, everybody else is told to come back."""

from __future__ import annotations

import asyncio


class TooBusy(Exception):
    """There is no room now. Nothing was begun or kept; asking again in a moment may do."""


class ConcurrencyLimit:
    """places: how many may be inside. queue: how many may wait for that, each at most `patience` seconds."""

    def __init__(self, places: int, queue: int, patience: float = 1.0) -> None:
        self._places = asyncio.Semaphore(places)
        self._queue = queue
        self._patience = patience
        self._waiting = 0

    async def enter(self) -> None:
        """Be inside, until `leave()`. Busy when there is no place."""
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
