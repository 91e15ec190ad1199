"""Many conversations at once: none fails, none waits for a blocked event loop.

CI holds two turns in each of 500 conversations. For a minute, with the figures:
LOAD_SECONDS=60 pytest -n0 -s tests/api/operations/test_load.py -k five_hundred
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from agent.turns import Turn
from tests.agent.test_summaries import wants_summary
from tests.support.backend import Backend, served, signed
from tests.support.gemini import Gemini, Step, calls, responses, text

CONVERSATIONS = 500
SECONDS = float(os.environ.get("LOAD_SECONDS", "0"))


def book_then_tell(body: Any) -> Step:
    """Calls the clock, in each conversation once, and answers in 40 words; and summarises."""
    if wants_summary(body):
        return text("They asked for the time in Tokyo.")
    if responses(body):
        return text(" ".join(f"word{n}" for n in range(40)), delay=0.05)
    return calls(("clock", {"place": "Tokyo"}), delay=0.05)


async def ask(backend: Backend, number: int, turn: str = "t") -> bytes:
    """One conversation over a plain socket: an httpx client would be the bottleneck here. The whole response."""
    host, _, port = backend.url.removeprefix("http://").partition(":")
    body = {"type": "message", "conversation_id": f"c{number}", "turn_id": turn, "text": "What time is it in Tokyo?"}
    request = signed(body)
    headers = {**request["headers"], "Host": host, "Content-Length": len(request["content"]), "Connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST /api/agent HTTP/1.1\r\n{head}\r\n".encode() + request["content"])
    answer = await reader.read()
    writer.close()
    return answer


async def test_five_hundred_conversations_at_once_and_then_again_need_no_more_memory(
    gemini: Gemini, tmp_path: Path
) -> None:
    """On one worker, and no error. Python's allocator gives little of what they needed back, so what is compared is
    the process after they have all been there once, and after they have gone on."""
    gemini.answer = book_then_tell
    env = {
        "GOOGLE_API_KEY": "test-key", "GOOGLE_GEMINI_BASE_URL": gemini.url,
        "DATABASE_URL": f"sqlite:///{tmp_path}/voice.db", "FIRST_TOKEN_SECONDS": "60",
        "MAX_TURNS": str(2 * CONVERSATIONS),  # they speak again at once, while their last turn is being entered
    }  # fmt: skip
    async with served(**env) as backend:
        assert backend.process
        pid = backend.process.pid
        sizes = [resident(pid)]
        turns = 0
        for seconds in (0.0, SECONDS):
            until = time.monotonic() + seconds
            turns += sum(await asyncio.gather(*(converse(backend, number, until) for number in range(CONVERSATIONS))))
            await asyncio.sleep(1)
            sizes.append(resident(pid))
    print(f"{turns} turns; MB resident at the start, after one each, at the end: {sizes}")
    assert turns >= 2 * CONVERSATIONS
    assert sizes[2] < 1.3 * sizes[1]


async def converse(backend: Backend, number: int, until: float) -> int:
    """Turn after turn; how many."""
    for turns in itertools.count(1):
        reply = await ask(backend, number, f"t{time.monotonic()}")
        assert reply.startswith(b"HTTP/1.1 200")
        assert reply.count(b'"response.end"') == 1
        assert b"word39" in reply
        if time.monotonic() >= until:
            return turns
    raise AssertionError


def resident(pid: int) -> int:
    """MB of a process's memory."""
    return int(re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[0]) // 1024


async def test_a_connection_to_the_model_that_is_kept_keeps_nothing_of_a_turn(gemini: Gemini, start: Any) -> None:
    """Timers that were cancelled may, until they would have been due."""
    gemini.answer = book_then_tell
    backend: Backend = await start(first_token_seconds=2, turn_timeout_seconds=3)
    await asyncio.gather(*(backend.caller(f"kept{n}").say("What time is it?") for n in range(5)))
    async with asyncio.timeout(30):
        while [it for it in gc.get_objects() if type(it) is Turn and it.request.conversation_id.startswith("kept")]:
            await asyncio.sleep(0.5)
            gc.collect()


@pytest.fixture
def longest_callback(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The longest that one callback held the event loop's thread, in CPU seconds: the machine's own hiccups are
    not counted. What blocks without computing is caught in every test by conftest.py."""
    longest = [0.0]
    run = asyncio.Handle._run

    def timed(self: asyncio.Handle) -> None:
        began = time.thread_time()
        run(self)
        longest[0] = max(longest[0], time.thread_time() - began)

    monkeypatch.setattr(asyncio.Handle, "_run", timed)
    return longest


async def test_the_event_loop_is_never_blocked_for_100_ms(
    gemini: Gemini, start: Any, longest_callback: list[float]
) -> None:
    gemini.answer = book_then_tell
    backend: Backend = await start(first_token_seconds=30, welcome_message="Hello.")
    longest_callback[0] = 0.0
    replies = await asyncio.gather(*(backend.caller().say("What time is it?") for _ in range(40)))
    assert all(reply.ended_once for reply in replies)
    assert longest_callback[0] < 0.1, f"a callback held the loop for {longest_callback[0] * 1000:.0f} ms of CPU"
