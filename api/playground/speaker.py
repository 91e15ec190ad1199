"""How far an answer has been spoken: time that passes, as the client's browser is the one that speaks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from api.playground.playback import Playback

SECONDS_PER_CHARACTER = 1 / 15  # about 170 words a minute
_BEAT = 1.0  # seconds between two empty chunks

SendAudio = Callable[[str], Awaitable[None]]


class Mute:
    """No voice: the text is taken to be read out from when it came, at a steady rate.

    Meanwhile empty audio goes out, as layercode-gym takes 3 s without audio for the end of an answer (§8)."""

    def __init__(self, send: SendAudio, playback: Playback) -> None:
        self._send = send
        self._playback = playback
        self._ended = asyncio.Event()

    def feed(self, text: str) -> None:
        self._playback.add(text, len(text) * SECONDS_PER_CHARACTER, _now())

    def end(self) -> None:
        self._ended.set()

    async def run(self) -> None:
        while not self._ended.is_set():
            try:
                await asyncio.wait_for(self._ended.wait(), _BEAT)
            except TimeoutError:
                if self._playback.ends_at:
                    await self._send("")
        while (left := self._playback.ends_at - _now()) > 0.01:
            await asyncio.sleep(min(left, _BEAT))
            await self._send("")


def _now() -> float:
    return asyncio.get_running_loop().time()
