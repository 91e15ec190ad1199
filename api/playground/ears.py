"""Speech in, offline: PocketSphinx, whose English model is in its wheel. Only with the extra `speech`.

It makes out clear, simple speech, and not always that: for trying things, not for judging an agent.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import multiprocessing
import os
import signal
import threading
from array import array
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec
from typing import Any

from api.playground.voice import RATE, resampled

log = logging.getLogger(__name__)

HEARD_RATE = 8_000  # samples a second that clients send (§7.1)
_SHORTEST = HEARD_RATE // 5 * 2  # bytes; 0.2 s


def find_ears() -> Ears | None:
    return Ears() if find_spec("pocketsphinx") else None


class Ears:
    """A recogniser in a process of its own, as it computes for seconds. It starts with the first utterance."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    async def hear(self, audio: bytes) -> str:
        """The words in PCM16 LE, mono, 8 kHz; empty when there are none."""
        if len(audio) < _SHORTEST:
            return ""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _end_with_the_server)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, recognise, audio)
        except BrokenProcessPool:
            log.error("the speech recogniser died; the next utterance starts it again")
            self._pool = None
            return ""

    def close(self) -> None:
        if self._pool:
            self._pool.shutdown(wait=False, cancel_futures=True)


def recognise(audio: bytes) -> str:
    samples = array("h")
    samples.frombytes(audio[: len(audio) // 2 * 2])
    decoder = _decoder()
    decoder.start_utt()
    decoder.process_raw(resampled(samples, HEARD_RATE, RATE).tobytes(), full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return found.hypstr.strip() if found else ""


@functools.cache
def _decoder() -> Any:
    from pocketsphinx import Decoder

    return Decoder(samprate=RATE, loglevel="FATAL")


def _end_with_the_server() -> None:
    """And not before: Ctrl-C is for the server. One that is killed cannot end this process, so it looks itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_wait_for_its_end, daemon=True).start()


def _wait_for_its_end() -> None:
    if server := multiprocessing.parent_process():
        server.join()
    os._exit(0)
