"""When the words that were sent to a speech synthesiser have been spoken."""

from __future__ import annotations

import asyncio

_CHARACTERS_PER_SECOND = 15.0  # of synthesised speech in a language with letters
_LONGEST = 120.0  # seconds to wait for the end of what was sent, whatever was reported


class Playout:
    """Estimates it from the number of characters; where the platform reports when it speaks, that counts."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._until = 0.0
        self._reports = False
        self._silent = asyncio.Event()
        self._silent.set()

    def sent(self, text: str) -> None:
        now = self._loop.time()
        self._until = max(self._until, now) + len(text) / _CHARACTERS_PER_SECOND
        if self._reports:
            self._silent.clear()

    def speaks(self, speaks: bool) -> None:
        """The platform's own report."""
        self._reports = True
        if speaks:
            self._silent.clear()
        else:
            self._silent.set()

    def stop(self) -> None:
        """What was sent and not spoken yet was dropped."""
        self._until = 0.0
        self._silent.set()

    async def finished(self) -> None:
        """Wait until everything has been spoken."""
        if self._reports:
            try:
                async with asyncio.timeout(_LONGEST):
                    await self._silent.wait()
            except TimeoutError:
                return
        else:
            await asyncio.sleep(min(_LONGEST, max(0.0, self._until - self._loop.time())))
