"""A caller who says nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from agent.failures import logged

log = logging.getLogger(__name__)

_LOOK = 0.5  # seconds between two looks, at most


class Silence:
    """Notices when nobody has spoken for a while, again and again.

    seconds: how long that is; None: nothing is noticed. is_quiet: whether neither side speaks, and nothing is being
    done. fell: called with how often it has been since the caller last did something.
    """

    def __init__(
        self, seconds: float | None, is_quiet: Callable[[], bool], fell: Callable[[int], Awaitable[None]]
    ) -> None:
        self._seconds = seconds
        self._is_quiet = is_quiet
        self._fell = fell
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._count = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._seconds:
            self._task = asyncio.create_task(self._watch(self._seconds), name="silence")

    def close(self) -> None:
        if self._task:
            self._task.cancel()

    def broken(self) -> None:
        """The caller has done something."""
        self._since, self._count = self._loop.time(), 0

    async def _watch(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(min(_LOOK, seconds / 4))
            if not self._is_quiet():
                self._since = self._loop.time()
            elif self._loop.time() - self._since >= seconds:
                self._count += 1
                self._since = self._loop.time()
                with logged(log, "a caller who says nothing could not be spoken to"):
                    await self._fell(self._count)
