"""When the words that were sent to a speech synthesiser have been spoken, and which of them."""

from __future__ import annotations

import asyncio

from api.platforms.playback import SECONDS_PER_CHARACTER

_LONGEST = 120.0  # seconds to wait for the end of what was sent, whatever was reported
_SLACK = 5.0  # seconds beyond twice the estimate, after which a report is no longer waited for


class Playout:
    """Estimates it from the number of characters; where the platform reports when it speaks, or what it has spoken,
    that counts.

    played: what was spoken of the present answer, where the platform reports it; else empty.
    """

    def __init__(self) -> None:
        self.played = ""
        self._loop = asyncio.get_running_loop()
        self._until = 0.0
        self._lost_at = 0.0  # when a report of the end is no longer waited for
        self._left = 0  # letters of the present answer that were sent and not reported as spoken
        self._speaks: bool | None = None  # as reported
        self._tells_words = False
        self._news = asyncio.Event()

    def begin(self) -> None:
        """Another answer begins."""
        self.played, self._left = "", 0

    def sent(self, text: str) -> None:
        now = self._loop.time()
        self._until = max(self._until, now) + len(text) * SECONDS_PER_CHARACTER
        self._lost_at = now + 2 * (self._until - now) + _SLACK
        self._left += _letters(text)
        if self._speaks is not None:
            self._speaks = True

    def speaks(self, speaks: bool) -> None:
        """The platform's own report."""
        self._speaks = speaks
        self._news.set()

    def has_played(self, text: str) -> None:
        """The platform's own report of words: those since its last report, or all of the answer so far."""
        self._tells_words = True
        so_far = text.startswith(self.played) and len(text) > len(self.played)
        before, self.played = self.played, text if so_far else self.played + text
        self._left -= _letters(self.played) - _letters(before)
        self._news.set()

    def stop(self) -> None:
        """What was sent and not spoken yet was dropped."""
        self._until, self._lost_at, self._left = 0.0, 0.0, 0
        self._speaks = None if self._speaks is None else False
        self._news.set()

    @property
    def is_over(self) -> bool:
        """Whether everything has been spoken."""
        now = self._loop.time()
        if self._speaks is None and not self._tells_words:
            return now >= self._until
        said = not self._tells_words or self._left <= 0
        return (said and not self._speaks) or now > self._lost_at

    async def finished(self) -> None:
        """Wait until everything has been spoken."""
        now = self._loop.time()
        if self._speaks is None and not self._tells_words:
            await asyncio.sleep(min(_LONGEST, max(0.0, self._until - now)))
            return
        try:
            async with asyncio.timeout(min(_LONGEST, max(0.0, self._lost_at - now))):
                while not self.is_over:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return


def _letters(text: str) -> int:
    return sum(map(str.isalnum, text))
