"""Speech out, offline: eSpeak NG from the wheel `espeakng-loader`, by ctypes. Only with the extra `speech`."""

from __future__ import annotations

import asyncio
import ctypes
from array import array
from importlib.util import find_spec
from typing import Any

RATE = 16_000  # samples a second that clients play (§7.2)
_SYNCHRONOUS, _UTF8 = 2, 1  # espeak_Initialize's output, espeak_Synth's flags
_SPEED, _WORDS_A_MINUTE = 1, 165
_LOUD = 0.8  # of full scale: eSpeak's peaks would clip when interpolated

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def can_speak() -> bool:
    return find_spec("espeakng_loader") is not None


class Voice:
    """One English voice. It speaks one sentence at a time, whoever asks."""

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()
        self._library: Any = None
        self._samples = array("h")
        self._callback = _Callback(self._take)  # kept: the library calls it later
        self._rate = RATE

    async def speak(self, text: str) -> bytes:
        """PCM16 LE, mono, 16 kHz; empty for what cannot be spoken."""
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._speak, text.replace("\0", " ").encode())

    def _speak(self, text: bytes) -> bytes:
        self._library = self._library or self._load()
        self._samples = array("h")
        self._library.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, 1, 0, _UTF8, None, None)
        return resampled(self._samples, self._rate).tobytes()

    def _load(self) -> Any:
        import espeakng_loader

        library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._rate = library.espeak_Initialize(_SYNCHRONOUS, 0, str(espeakng_loader.get_data_path()).encode(), 0)
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
