"""Many conversations at once: none fails, none waits for a blocked event loop."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tests.backend import Backend, served, signed
from tests.blocking import no_blocking_calls
from tests.gemini import Gemini, Step, calls, responses, text

CONVERSATIONS = 200


def book_then_tell(body: Any) -> Step:
    """Calls the clock once per question, then answers in 40 words."""
    if responses(body):
        return text(" ".join(f"word{n}" for n in range(40)), delay=0.05)
    return calls(("clock", {"place": "Tokyo"}), delay=0.05)


async def ask(backend: Backend, number: int) -> bytes:
    """One conversation over a plain socket: an httpx client would be the bottleneck here. The whole response."""
    host, _, port = backend.url.removeprefix("http://").partition(":")
    body = {"type": "message", "conversation_id": f"c{number}", "turn_id": "t", "text": "What time is it in Tokyo?"}
    request = signed(body)
    headers = {**request["headers"], "Host": host, "Content-Length": len(request["content"]), "Connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST /api/agent HTTP/1.1\r\n{head}\r\n".encode() + request["content"])
    answer = await reader.read()
    writer.close()
    return answer


async def test_two_hundred_conversations_at_once_are_all_answered(gemini: Gemini, tmp_path: Path) -> None:
    """One `voice serve` process: no error, every stream ended once."""
    gemini.answer = book_then_tell
    env = {
        "GOOGLE_API_KEY": "test-key", "GOOGLE_GEMINI_BASE_URL": gemini.url,
        "DATABASE_URL": f"sqlite:///{tmp_path}/voice.db", "FIRST_TOKEN_SECONDS": "30",
    }  # fmt: skip
    async with served(**env) as backend:
        async with asyncio.timeout(90):
            replies = await asyncio.gather(*(ask(backend, number) for number in range(CONVERSATIONS)))
    for reply in replies:
        assert reply.startswith(b"HTTP/1.1 200")
        assert reply.count(b'"response.end"') == 1
        assert b"word39" in reply
    assert len(gemini.requests) == 2 * CONVERSATIONS


@pytest.fixture
def longest_callback(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The longest that one callback held the event loop's thread, in CPU seconds: the machine's own hiccups are
    not counted. What blocks without computing is caught by `no_blocking_calls`."""
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
    with no_blocking_calls():
        longest_callback[0] = 0.0
        replies = await asyncio.gather(*(backend.caller().say("What time is it?") for _ in range(40)))
    assert all(reply.ended_once for reply in replies)
    assert longest_callback[0] < 0.1, f"a callback held the loop for {longest_callback[0] * 1000:.0f} ms of CPU"
