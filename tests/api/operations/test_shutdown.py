"""SIGTERM on a real server: who is speaking may finish, within bounds, and every stream ends once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from tests.support.backend import ROOT, SECRET, Backend, Reply, client, free_port, served, signed, until_ready
from tests.support.gemini import Gemini, Json, Step, calls, said, text
from tests.support.processes import Process

TWENTY = " ".join(f"word{number}" for number in range(20))
TOOLS = '''
import asyncio
from pathlib import Path
from agent import voice_tool

@voice_tool(timeout=120)
async def work(seconds: float) -> str:
    """Runs on when the caller interrupts."""
    await asyncio.sleep(seconds)
    Path("done").touch()
    return "Done."
'''


@pytest.fixture
def environment(gemini: Gemini, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "work.py").write_text(TOOLS)
    return {
        "GOOGLE_API_KEY": "test-key",
        "GOOGLE_GEMINI_BASE_URL": gemini.url,
        "DATABASE_URL": f"sqlite:///{tmp_path}/voice.db",
        "TOOLS_DIR": str(tmp_path / "tools"),
    }


@asynccontextmanager
async def speaking(backend: Backend, gemini: Gemini, text: str = "Go on") -> AsyncIterator[asyncio.Task[Reply]]:
    """A turn of which the first words have left."""
    turn = asyncio.create_task(backend.caller().say(text))
    async with asyncio.timeout(10):
        while not any(said(request.body) == text and request.tokens for request in gemini.requests):
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)
    yield turn
    await asyncio.wait_for(turn, 15)


def running(backend: Backend) -> Process | subprocess.Popen[str]:
    assert backend.process
    return backend.process


async def ended(backend: Backend) -> tuple[int, str]:
    """Exit status and output of a server that has been told to stop."""
    output, _ = await asyncio.to_thread(running(backend).communicate, timeout=30)
    return running(backend).returncode, output


def answers(body: Json) -> Step:
    """Works for as long as it is asked to, else speaks: a word each 0.1 s, or each 3 s if asked to be slow."""
    asked = said(body)
    if asked.startswith("Work"):
        return calls(("work", {"seconds": float(asked.removeprefix("Work "))}))
    return text(TWENTY, delay=3 if asked == "Slowly" else 0.1)


async def test_what_runs_is_finished_while_nothing_new_is_begun(
    gemini: Gemini, environment: dict[str, str], tmp_path: Path
) -> None:
    """After SIGTERM: not ready, new webhooks get 503 with Retry-After; a turn that streams ends with all its words,
    a tool that runs on although its caller has hung up comes to its end; exit 0."""
    gemini.answer = answers
    async with served(**environment) as backend:
        abandoned = await backend.caller().say("Work 3.5", hang_up_after=1)
        assert abandoned.data[0]["status"] == "started"
        async with speaking(backend, gemini) as turn:
            running(backend).send_signal(signal.SIGTERM)
            await asyncio.sleep(0.4)
            assert (await backend.http.get(f"{backend.url}/livez")).status_code == 200
            assert (await backend.http.get(f"{backend.url}/readyz")).status_code == 503
            late = {"type": "message", "conversation_id": "c2", "session_id": "s", "turn_id": "t", "text": "Hello?"}
            refused = await backend.http.post(f"{backend.url}/api/agent", **signed(late))
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) > 0
            assert refused.json() == {"error": "Shutting down."}
            assert not turn.done()
        assert not (tmp_path / "done").exists()
        status, output = await ended(backend)
    assert turn.result().text == TWENTY
    assert turn.result().ended_once
    assert (tmp_path / "done").exists()
    assert status == 0
    assert "Traceback" not in output


async def test_the_waiting_is_bounded_by_drain_seconds(
    gemini: Gemini, environment: dict[str, str], tmp_path: Path
) -> None:
    """A turn and a tool that take longer: the stream is ended once, the process exits with 0."""
    gemini.answer = answers
    async with served(DRAIN_SECONDS="0.3", **environment) as backend:
        await backend.caller().say("Work 100", hang_up_after=1)
        async with speaking(backend, gemini, "Slowly") as turn:
            running(backend).send_signal(signal.SIGTERM)
            began = time.monotonic()
            status, output = await ended(backend)
            took = time.monotonic() - began
    reply = turn.result()
    assert reply.text.startswith("word0")
    assert not reply.text.endswith("word19")
    assert reply.ended_once
    assert not (tmp_path / "done").exists()
    assert status == 0
    assert took < 8
    assert "Traceback" not in output


async def test_a_turn_that_has_said_nothing_yet_ends_in_words(gemini: Gemini, environment: dict[str, str]) -> None:
    gemini.answer = answers
    async with served(DRAIN_SECONDS="0.3", **environment) as backend:
        turn = asyncio.create_task(backend.caller().say("Work 100"))
        await asyncio.sleep(1)
        running(backend).send_signal(signal.SIGTERM)
        reply = await asyncio.wait_for(turn, 15)
        await ended(backend)
    assert reply.text == "Sorry, something went wrong on my side. Please say that again."
    assert reply.ended_once


async def test_a_second_signal_does_not_wait(gemini: Gemini, environment: dict[str, str]) -> None:
    """And still the stream ends with its response.end, and the exit status is 0."""
    gemini.answer = answers
    async with served(DRAIN_SECONDS="100", **environment) as backend, speaking(backend, gemini, "Slowly") as turn:
        running(backend).send_signal(signal.SIGTERM)
        await asyncio.sleep(0.5)
        assert not turn.done()
        running(backend).send_signal(signal.SIGTERM)
        began = time.monotonic()
        status, output = await ended(backend)
        took = time.monotonic() - began
    assert turn.result().ended_once
    assert status == 0
    assert took < 5
    assert "Traceback" not in output


@contextmanager
def uvicorn(*arguments: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "uvicorn", "api.app:create_app", "--factory", *arguments]
    process = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


async def test_under_uvicorns_own_command_it_answers_and_stops(environment: dict[str, str], gemini: Gemini) -> None:
    """A turn that runs at SIGTERM is finished there too. uvicorn's own exit status is the signal's."""
    gemini.answer = answers
    port = free_port()
    with uvicorn("--port", str(port), LAYERCODE_WEBHOOK_SECRET=SECRET, **environment) as process:
        async with client() as http:
            backend = Backend(f"http://127.0.0.1:{port}", http, process=process)
            await until_ready(http, backend.url, process)
            async with speaking(backend, gemini) as turn:
                process.send_signal(signal.SIGTERM)
        status, output = await ended(backend)
    assert turn.result().text == TWENTY
    assert turn.result().ended_once
    assert status in (0, -signal.SIGTERM)
    assert "Traceback" not in output
