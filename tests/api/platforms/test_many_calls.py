"""Many calls open at once on one worker: every turn is answered, and what they took is given back.

CI holds 60 calls for 5 seconds. More, with the figures:
CALLS=500 CALL_SECONDS=60 pytest -n0 -s tests/api/platforms/test_many_calls.py
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path
from typing import Any

from tests.agent.test_storm import resources
from tests.agent.test_summaries import wants_summary
from tests.support.backend import served
from tests.support.gemini import Gemini, Step, text
from tests.support.phone import TOKEN, phone

CALLS = int(os.environ.get("CALLS", "60"))
SECONDS = float(os.environ.get("CALL_SECONDS", "5"))
_DIAL_SECONDS = CALLS / 50  # over which they dial in
_PAUSES = (1.0, 4.0) if CALLS < 200 else (3.0, 12.0)  # seconds between an answer and the next words
ANSWER = "It is sunny in Paris today, and tomorrow as well."


def answer(body: dict[str, Any]) -> Step:
    return text("They asked for the weather.") if wants_summary(body) else text(ANSWER, delay=0.02)


async def call(url: str, seconds: float, everybody: asyncio.Barrier) -> list[float]:
    """The seconds to the first words of each turn. All calls are open before the first one speaks, and until the last
    one is done."""
    waited: list[float] = []
    await asyncio.sleep(random.uniform(0, _DIAL_SECONDS))
    async with phone(url) as caller:
        assert await caller.answer(patience=60) == "Hello."
        await everybody.wait()
        until = time.monotonic() + seconds
        while not waited or time.monotonic() < until:
            await asyncio.sleep(random.uniform(*_PAUSES))
            asked = time.monotonic()
            await caller.say("What is the weather?")
            read = len(caller.frames)
            assert await caller.answer(patience=60) == ANSWER
            waited.append(caller.frames[read][0] - asked)
        await everybody.wait()
    return waited


async def test_every_turn_of_many_open_calls_is_answered(gemini: Gemini, tmp_path: Path) -> None:
    """Python's allocator gives little back, and connections to the model are kept for a while: so what is compared is
    the process after a first round of calls and after a second."""
    gemini.answer = answer
    env = {
        "GOOGLE_API_KEY": "test-key", "GOOGLE_GEMINI_BASE_URL": gemini.url, "TWILIO_AUTH_TOKEN": TOKEN,
        "DATABASE_URL": f"sqlite:///{tmp_path}/voice.db", "WELCOME_MESSAGE": "Hello.", "FIRST_TOKEN_SECONDS": "60",
        "MAX_TURNS": str(2 * CALLS),
    }  # fmt: skip
    async with served(**env) as backend:
        assert backend.process
        pid = backend.process.pid
        before = resources(pid)
        after, waited = [], []
        for seconds in (SECONDS / 4, SECONDS):
            everybody = asyncio.Barrier(CALLS + 1)
            calls = [asyncio.create_task(call(backend.url, seconds, everybody)) for _ in range(CALLS)]
            await _together(everybody, calls)
            open_files = resources(pid).files
            await _together(everybody, calls)
            waited = sorted(seconds for turns in await asyncio.gather(*calls) for seconds in turns)
            assert open_files > CALLS
            await asyncio.sleep(2)
            after.append(resources(pid))
        assert (await backend.http.get(f"{backend.url}/readyz")).status_code == 200
    print(f"{CALLS} calls, {len(waited)} turns; first words after {waited[len(waited) // 2]:.3f} s in the median, "
          f"{waited[len(waited) * 99 // 100]:.3f} s in 99 %, {waited[-1]:.3f} s at most; at the start {before}, "
          f"after each round {after}")  # fmt: skip
    assert len(waited) >= CALLS
    assert after[1].files < after[0].files + CALLS / 2
    assert after[1].memory_mb < 1.3 * after[0].memory_mb


async def _together(everybody: asyncio.Barrier, calls: list[asyncio.Task[list[float]]]) -> None:
    """Until every call has come here; a call that fails instead is raised at once."""
    here = asyncio.create_task(everybody.wait())
    done, _ = await asyncio.wait([here, *calls], return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        if task is not here:
            task.result()
    await here
