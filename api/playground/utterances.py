"""Where the user's speech begins and ends in the audio that a client sends."""

from __future__ import annotations

import asyncio
import base64
import uuid
from array import array
from collections.abc import Awaitable, Callable
from typing import Protocol

from api.playground.ears import HEARD_RATE

_SECOND = 2 * HEARD_RATE  # bytes
_BEFORE = 1 * _SECOND  # kept from before the speech was noticed
_LONGEST = 60 * _SECOND
_GAP = 0.8  # seconds without a loud sound after which the user has spoken
_LOUD = 500  # mean amplitude; the quiet of a room is below


class MayBegin(Protocol):
    def __call__(self, *, asked: bool) -> bool: ...


class Utterances:
    """The client says when: by its voice detection, or by push to talk. In automatic mode a loud sound begins one
    too, until the client is known to detect voices; a gap ends it, as layercode-gym has no end marker (§8).

    begins(turn id) and ends(audio, turn id) are told; may_begin(asked=…) is asked first.
    """

    def __init__(
        self,
        *,
        automatic: bool,
        may_begin: MayBegin,
        begins: Callable[[str], Awaitable[None]],
        ends: Callable[[bytes, str], Awaitable[None]],
    ) -> None:
        self.seconds = 0.0
        self._by_sound = automatic
        self._may_begin = may_begin
        self._begins = begins
        self._ends = ends
        self._audio = bytearray()
        self._turn_id: str | None = None
        self._loud_at = 0.0
        self._gap: asyncio.Task[None] | None = None

    async def take(self, content: str) -> None:
        """A chunk of base64 PCM16. ValueError when it is none."""
        audio = base64.b64decode(content, validate=True)
        self._audio += audio[: len(audio) // 2 * 2]
        if _is_loud(audio):
            self._loud_at = _now()
            if self._turn_id is None and self._by_sound and self._may_begin(asked=False):
                await self._start()
                self._gap = asyncio.create_task(self._until_gap())
        if self._turn_id is None:
            del self._audio[:-_BEFORE]
        elif len(self._audio) > _LONGEST:
            await self.stop()

    async def detected(self) -> None:
        """The client's voice detection says that the user speaks."""
        self._by_sound = False
        self._no_gap()
        if self._turn_id is None and self._may_begin(asked=False):
            await self._start()

    async def pressed(self) -> None:
        self._no_gap()
        if self._turn_id is None and self._may_begin(asked=True):
            await self._start()

    async def stop(self) -> None:
        """The user has spoken."""
        self._no_gap()
        if self._turn_id is None:
            return
        turn_id, self._turn_id = self._turn_id, None
        audio, self._audio = bytes(self._audio), bytearray()
        self.seconds += len(audio) / _SECOND
        await self._ends(audio, turn_id)

    def close(self) -> None:
        self._no_gap()

    async def _start(self) -> None:
        self._turn_id = f"user-{uuid.uuid4()}"
        await self._begins(self._turn_id)

    async def _until_gap(self) -> None:
        while (left := self._loud_at + _GAP - _now()) > 0:  # noqa: ASYNC110 - each loud chunk moves the end
            await asyncio.sleep(left)
        self._gap = None
        await self.stop()

    def _no_gap(self) -> None:
        if self._gap:
            self._gap.cancel()
        self._gap = None


def _is_loud(audio: bytes) -> bool:
    samples = array("h")
    samples.frombytes(audio[: len(audio) // 2 * 2])
    return sum(map(abs, samples)) > _LOUD * len(samples) if samples else False


def _now() -> float:
    return asyncio.get_running_loop().time()
