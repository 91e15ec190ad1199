"""Speaking an answer while it comes: as audio, or without a voice as time that passes.

Both keep the answer's `Playback`: feed(text) as it comes, end() when that was all, run() until it is played.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from api.playground.playback import Playback
from api.playground.voice import RATE, Voice

SECONDS_PER_CHARACTER = 1 / 15  # about 170 words a minute
_AHEAD = 0.5  # seconds that audio is sent before it is played: clients stutter when they run dry (§7.3)
_CHUNK = RATE // 10 * 2  # bytes; 100 ms
_PAUSE = 0.4  # seconds without a new word after which what is there is spoken
_LONGEST = 300  # characters that are spoken in one go
_BEAT = 1.0  # seconds between two empty chunks
_SENTENCE = re.compile(r".+?[.!?…:;](?=\s)|.+?\n", re.DOTALL)

SendAudio = Callable[[str], Awaitable[None]]
Failed = Callable[[Exception], Awaitable[None]]


class Speaker(Protocol):
    seconds: float

    def feed(self, text: str) -> None: ...
    def end(self) -> None: ...
    async def run(self) -> None: ...


class Mute:
    """No voice: the text is taken to be read out from when it came, at a steady rate.

    Meanwhile empty audio goes out, as layercode-gym takes 3 s without audio for the end of an answer (§8)."""

    def __init__(self, send: SendAudio, playback: Playback) -> None:
        self._send = send
        self._playback = playback
        self._ended = asyncio.Event()
        self.seconds = 0.0

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


class Speaking:
    """Sentence by sentence, a bit ahead of real time; in the backend's pauses empty audio, as without a voice.

    When the voice fails, `failed` is told, and the rest is silence that takes as long."""

    def __init__(self, send: SendAudio, playback: Playback, voice: Voice, failed: Failed) -> None:
        self._send = send
        self._playback = playback
        self._voice: Voice | None = voice
        self._failed = failed
        self._pending = ""
        self._ended = False
        self._news = asyncio.Event()
        self.seconds = 0.0

    def feed(self, text: str) -> None:
        self._pending += text
        self._news.set()

    def end(self) -> None:
        self._ended = True
        self._news.set()

    async def run(self) -> None:
        async for sentence in self._sentences():
            audio = await self._spoken(sentence)
            await _until(self._playback.ends_at - _AHEAD)
            self.seconds += len(audio) / 2 / RATE
            self._playback.add(sentence, len(audio) / 2 / RATE, _now())
            due = self._playback.ends_at - len(audio) / 2 / RATE
            for start in range(0, len(audio), _CHUNK):
                await _until(due + start / 2 / RATE - _AHEAD)
                await self._send(base64.b64encode(audio[start : start + _CHUNK]).decode())
        await _until(self._playback.ends_at)

    async def _spoken(self, sentence: str) -> bytes:
        if self._voice:
            try:
                return await self._voice.speak(sentence)
            except Exception as error:  # noqa: BLE001 - its library may raise anything; the words shall still come
                self._voice = None
                await self._failed(error)
        return bytes(2 * int(RATE * len(sentence) * SECONDS_PER_CHARACTER))

    async def _sentences(self) -> AsyncIterator[str]:
        while self._pending or not self._ended:
            whole = _SENTENCE.match(self._pending, 0, _LONGEST)
            if whole or self._ended or len(self._pending) > _LONGEST:
                yield self._take(whole.end() if whole else len(self._pending))
                continue
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), _PAUSE if self._pending else _BEAT)
            except TimeoutError:
                if self._pending:
                    yield self._take(len(self._pending))
                elif self._playback.ends_at:
                    await self._send("")

    def _take(self, count: int) -> str:
        count = min(count, _LONGEST)
        sentence, self._pending = self._pending[:count], self._pending[count:]
        return sentence


async def _until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - _now()))


def _now() -> float:
    return asyncio.get_running_loop().time()
