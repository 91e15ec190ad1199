"""Speech out, offline: eSpeak NG from the wheel `espeakng-loader`, by ctypes. Only with the extra `speech`."""

from __future__ import annotations

import asyncio
import ctypes
from array import array
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

RATE = 16_000  # samples a second that clients play (§7.2)
_SYNCHRONOUS, _UTF8 = 2, 1  # espeak_Initialize's output, espeak_Synth's flags
_NO_EXIT = 0x8000  # espeak_Initialize's options: else it would end the process when its data is missing
_SPEED, _WORDS_A_MINUTE = 1, 165
_LOUD = 0.8  # of full scale: eSpeak's peaks would clip when interpolated

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def find_voice() -> Voice | None:
    return Voice() if find_spec("espeakng_loader") else None


class Voice:
    """One English voice. It speaks one sentence at a time, whoever asks: the library is in one thread only, which
    finishes a sentence that nobody wants any more before it begins the next."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "voice")
        self._library: Any = None
        self._samples = array("h")
        self._callback = _Callback(self._take)  # kept: the library calls it later
        self._rate = RATE

    async def speak(self, text: str) -> bytes:
        """PCM16 LE, mono, 16 kHz; empty for what cannot be spoken."""
        spoken = text.replace("\0", " ").encode(errors="replace")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._speak, spoken)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _speak(self, text: bytes) -> bytes:
        self._library = self._library or self._load()
        self._samples = array("h")
        self._library.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, 1, 0, _UTF8, None, None)
        return resampled(self._samples, self._rate).tobytes()

    def _load(self) -> Any:
        import espeakng_loader

        library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = str(espeakng_loader.get_data_path()).encode()
        self._rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data, _NO_EXIT)
        if self._rate < 0:
            raise OSError(f"espeak_Initialize: {self._rate}")
        library.espeak_SetSynthCallback(self._callback)
        library.espeak_SetVoiceByName(b"en-us")
        library.espeak_SetParameter(_SPEED, _WORDS_A_MINUTE, 0)
        return library

    def _take(self, samples: Any, count: int, _: Any) -> int:
        if samples and count:
            self._samples.frombytes(ctypes.string_at(samples, 2 * count))
        return 0


def resampled(samples: array[int], rate: int, to: int = RATE) -> array[int]:
    """By straight lines between the samples: good enough for a voice in a playground."""
    if len(samples) < 2:
        return array("h")
    made, step = array("h"), rate / to
    for number in range(int((len(samples) - 1) / step)):
        position = number * step
        left = int(position)
        value = samples[left] + (samples[left + 1] - samples[left]) * (position - left)
        made.append(int(value * _LOUD))
    return made
