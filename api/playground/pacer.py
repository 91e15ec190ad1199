"""Keeps time for an answer that the client's browser speaks: the server assumes a steady rate of speech."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from api.platforms.playback import SECONDS_PER_CHARACTER, Playback

_KEEPALIVE_SECONDS = 1.0  # between two empty audio messages

SendAudio = Callable[[str], Awaitable[None]]


class PlaybackPacer:
    """Adds an answer's text to its `Playback` as it arrives, and waits until all of it counts as played.

    Meanwhile empty audio messages are sent, because layercode-gym takes 3 s without audio for the end of an answer
    (§8). send: sends one audio message, of base64 content.
    """

    def __init__(self, send: SendAudio, playback: Playback) -> None:
        self._send = send
        self._playback = playback
        self._text_ended = asyncio.Event()

    def feed(self, text: str) -> None:
        """Add the next piece of the text."""
        self._playback.add(text, len(text) * SECONDS_PER_CHARACTER, _now())

    def end(self) -> None:
        """There is no more text."""
        self._text_ended.set()

    async def run(self) -> None:
        """Return when the text has ended and has been played."""
        while not self._text_ended.is_set():
            try:
                await asyncio.wait_for(self._text_ended.wait(), _KEEPALIVE_SECONDS)
            except TimeoutError:
                if self._playback.ends_at:
                    await self._send("")
        while (left := self._playback.ends_at - _now()) > 0.01:
            await asyncio.sleep(min(left, _KEEPALIVE_SECONDS))
            await self._send("")


def _now() -> float:
    return asyncio.get_running_loop().time()
