"""The voice and the ears of the stand-in, in the place of the libraries: what it does with them, and when they fail."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from api.playground.answer import Answer
from api.playground.ears import Ears
from api.playground.voice import RATE, Voice
from api.playground.webhooks import Request, Webhooks
from tests.support.backend import ROOT
from tests.support.playground import WORDS, Client, Foreign, connected, development, foreign

LOUD = base64.b64encode(array("h", [8_000, -8_000] * 400).tobytes()).decode()  # 0.1 s


class Hum(Voice):
    """A tenth of a second for each sentence. most: how many sentences were in it at once."""

    def __init__(self, *, broken: bool = False) -> None:
        super().__init__()
        self.most = self._inside = 0
        self._broken = broken

    def _speak(self, text: bytes) -> bytes:
        if self._broken:
            raise OSError("no sound")
        self._inside += 1
        self.most = max(self.most, self._inside)
        time.sleep(0.1)
        self._inside -= 1
        return bytes(RATE // 10 * 2)


class Told(Ears):
    """It hears a question in whatever it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[bytes] = []

    async def hear(self, audio: bytes) -> str:
        self.heard.append(audio)
        return "Is anybody there?"


@pytest.fixture
async def backend() -> AsyncIterator[Foreign]:
    async with foreign() as made:
        yield made


Call = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def call(backend: Foreign, tmp_path: Path) -> Call:
    """`call(voice=…, ears=…, **terms)`: a client of a server with those."""

    @asynccontextmanager
    async def called(*, voice: Voice | None = None, ears: Ears | None = None, **terms: Any) -> AsyncIterator[Client]:
        speech: dict[str, Any] = {"voice": voice, "ears": ears}
        async with (
            development(backend.url, database_url=f"sqlite:///{tmp_path}/dev.db", **speech) as server,
            connected(server.url, **terms) as client,
        ):
            yield client

    return called


async def test_one_sentence_is_spoken_at_a_time_also_when_one_is_cancelled() -> None:
    """And what cannot be encoded is spoken without it."""
    voice = Hum()
    speaking = [asyncio.create_task(voice.speak(f"{n} \ud800\0")) for n in range(4)]
    await asyncio.sleep(0.05)
    for cancelled in speaking[:2]:
        cancelled.cancel()
    assert [len(audio) for audio in await asyncio.gather(*speaking[2:])] == [3_200, 3_200]
    assert voice.most == 1
    voice.close()


async def test_when_the_voice_fails_that_is_told_once_and_every_word_still_comes(call: Call) -> None:
    async with call(voice=Hum(broken=True)) as client:
        assert "installs the voice again" in client.of("playground.error")[0]["error"]
        await client.say("sentences")
        for word in WORDS:
            assert (await client.until("response.text"))["content"] == f"{word}. "
        await client.say("Stop.")
        assert (await client.until("playground.heard"))["words"] > 3
        assert await client.answer() == "Stop."
    assert len(client.of("playground.error")) == 3


async def test_in_a_pause_of_the_backend_the_line_does_not_fall_silent(call: Call) -> None:
    """layercode-gym takes 3 s without audio for the end of an answer (§8)."""
    async with call(voice=Hum()) as client:
        await client.say("wait")
        turn = (await client.until("response.audio"))["turn_id"]
        for _ in range(2):
            await client.until("response.audio", seconds=3, content="", turn_id=turn)


@pytest.mark.parametrize(
    ("trigger", "begin", "end"),
    [
        ("push_to_talk", {"type_": "trigger.turn.start"}, {"type_": "trigger.turn.end"}),
        ("automatic", {"type_": "vad_events", "event": "vad_start"}, {"type_": "vad_events", "event": "vad_end"}),
    ],
)
async def test_what_is_said_between_the_clients_marks_is_heard(
    trigger: str, begin: dict[str, Any], end: dict[str, Any], call: Call, backend: Foreign
) -> None:
    """It interrupts at its beginning. Once the client marks, a loud sound alone is no speech."""
    ears = Told()
    async with call(ears=ears, config={"transcription": {"trigger": trigger}}) as client:
        await client.say("wait")
        await client.until("response.text")
        await client.send(**begin)
        started = await client.until("turn.start", role="user")
        await client.until("playground.heard")
        for _ in range(15):
            await client.send("client.audio", content=LOUD)
        await client.send(**end)
        said = await client.until("user.transcript", content="Is anybody there?")
        assert said["turn_id"] == started["turn_id"]
        assert await client.answer() == "Is anybody there?"
        await client.send("client.audio", content=LOUD)
        await client.say("Typed.")
        assert await client.answer() == "Typed."
    assert [len(audio) for audio in ears.heard] == [15 * 1_600]
    assert [body["text"] for body in backend.of("message")] == ["wait", "Is anybody there?", "Typed."]
    assert [start["turn_id"] for start in client.of("turn.start") if start["role"] == "user"] == [started["turn_id"]]


KILLED = """
import asyncio, os, signal
from api.playground.ears import HEARD_RATE, Ears

async def main():
    try:
        await Ears().hear(bytes(HEARD_RATE))
    except ImportError:  # without the extra; its process is there all the same
        pass
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_the_recogniser_does_not_outlive_a_server_that_is_killed(tmp_path: Path) -> None:
    """Both hold the pipe, which is read to its end."""
    (tmp_path / "killed.py").write_text(KILLED)
    command = [sys.executable, str(tmp_path / "killed.py")]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run(command, env=env, stdout=subprocess.PIPE, timeout=60).returncode == -signal.SIGKILL


async def test_an_answer_ends_also_when_who_drops_it_is_cancelled() -> None:
    dropped = asyncio.Event()

    class Silent(Webhooks):
        def __init__(self) -> None:
            pass

        async def stream(self, request: Request) -> AsyncGenerator[dict[str, Any]]:
            try:
                await asyncio.sleep(60)
                yield {}
            finally:
                dropped.set()

    async def nothing(_: Any) -> None:
        pass

    answer = Answer("turn_1", Request(b""), Silent(), nothing, None)
    answer.begin(nothing)
    await asyncio.sleep(0.01)
    dropping = asyncio.create_task(answer.drop())
    await asyncio.sleep(0.01)
    dropping.cancel()
    await asyncio.wait_for(dropped.wait(), 5)
