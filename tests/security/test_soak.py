"""Hostile connections of every kind, while signed callers talk: no turn of theirs fails or waits, nothing is left
behind, and a SIGTERM in the middle drains.

SOAK=10000 makes so many connections; HOSTILE=… of them at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from pathlib import Path

from tests.agent.test_storm import resources
from tests.security.hostile import Hostile
from tests.support.backend import ROOT, Backend, Reply, served
from tests.support.gemini import Gemini, text
from tests.support.phone import TOKEN

SOAK = int(os.environ.get("SOAK", "1500"))
AT_ONCE = int(os.environ.get("HOSTILE", str(min(SOAK // 2, 1000))))
CALLERS = 50
PAUSE = 0.5  # seconds between two turns of a caller
LONGER = 1.0  # seconds that a turn may wait longer than without, on a machine that does nothing else
WORDS = " ".join(f"word{n}" for n in range(8))


async def hostile(backend: Backend, count: int) -> Process:
    host, _, port = backend.url.removeprefix("http://").partition(":")
    command = [sys.executable, "-m", "tests.security.hostile", host, port, str(count), str(AT_ONCE)]
    return await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=PIPE)


async def talk(backend: Backend, until: asyncio.Event, least: int = 2) -> list[float]:
    """One caller, turn after turn: the seconds until the first words of each."""
    caller, waits = backend.caller(), list[float]()
    await asyncio.sleep(random.random() * PAUSE)
    while len(waits) < least or not until.is_set():
        reply = await caller.say("Hello?")
        assert (reply.status, reply.text, reply.ended_once) == (200, WORDS, True)
        waits.append(next(at for at, event in reply.events if event["type"] == "response.tts"))
        await asyncio.sleep(PAUSE)
    return waits


async def everybody(backend: Backend, until: asyncio.Event) -> list[float]:
    """All callers. What they waited, the longest last."""
    waits = await asyncio.gather(*(talk(backend, until) for _ in range(CALLERS)))
    return sorted(wait for one in waits for wait in one)


def connections(backend: Backend) -> int:
    """To the server, as the kernel knows them, in whatever state but waiting to be forgotten."""
    port = f":{int(backend.url.rpartition(':')[2]):04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(line[1].endswith(port) and line[3] not in ("06", "0A") for line in lines)


async def left_alone(backend: Backend) -> bool:
    """Nobody's connection is left after a while."""
    for _ in range(100):
        if not connections(backend):
            return True
        await asyncio.sleep(0.25)
    return False


def test_there_are_forty_kinds_and_more() -> None:
    assert len(Hostile("127.0.0.1", 1).kinds(random.Random(0))) >= 40


async def test_callers_talk_on_while_strangers_do_their_worst(gemini: Gemini, tmp_path: Path) -> None:
    gemini.answer = lambda _: text(WORDS, delay=0.02)
    environment = {
        "GOOGLE_API_KEY": "test-key", "GOOGLE_GEMINI_BASE_URL": gemini.url, "LAYERCODE_API_KEY": "lc_0123456789",
        "DATABASE_URL": f"sqlite:///{tmp_path}/voice.db", "TWILIO_AUTH_TOKEN": TOKEN, "LOG_LEVEL": "warning",
        "COMPLETIONS_API_KEY": "9c1e7d5b3a", "LAYERCODE_API_URL": "http://127.0.0.1:9",
    }  # fmt: skip
    async with served(**environment) as backend:
        assert backend.process
        pid, quiet, over = backend.process.pid, asyncio.Event(), asyncio.Event()
        quiet.set()
        without = await everybody(backend, quiet)
        before, busy = resources(pid), max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))

        attackers = await hostile(backend, SOAK)
        began = time.monotonic()
        talking = asyncio.create_task(everybody(backend, over))
        output, _ = await attackers.communicate()
        over.set()
        within = await talking
        came = Counter(json.loads(output))
        print(f"{SOAK} in {time.monotonic() - began:.1f} s, {AT_ONCE} at once: {_counted(came)}")
        without = sorted(without + await everybody(backend, over))  # also as the machine is now
        print(
            f"first words of {len(without)} turns without: {_spread(without)};"
            f" of {len(within)} within: {_spread(within)}"
        )
        assert attackers.returncode == 0
        assert sum(came.values()) == SOAK
        assert within[-1] < without[-1] + LONGER * busy
        assert await left_alone(backend), connections(backend)
        after = resources(pid)
        print(f"before {before}, after {after}")
        assert after.files < before.files + CALLERS  # kept connections to the model are among them
        assert after.memory_mb < before.memory_mb + 80

        attackers = await hostile(backend, SOAK // 4)
        await asyncio.sleep(1.5)
        turns = [asyncio.create_task(backend.caller().say("Hello?")) for _ in range(10)]
        await asyncio.sleep(0.25)
        backend.process.send_signal(signal.SIGTERM)
        replies: list[Reply] = await asyncio.gather(*turns)
        printed, _ = await asyncio.to_thread(backend.process.communicate, timeout=60)
        await attackers.communicate()
    assert [(reply.status, reply.ended_once) for reply in replies] == [(200, True)] * 10
    assert backend.process.returncode == 0, printed[-2000:]
    assert "Traceback" not in printed
    assert "AssertionError" not in printed
    assert not (tmp_path / "voice.db-wal").exists(), "the database was not closed"


def _counted(came: Counter[str]) -> dict[str, int]:
    ways = Counter[str]()
    for kind, count in came.items():
        ways[kind.rpartition(": ")[2]] += count
    return dict(ways)


def _spread(waits: list[float]) -> str:
    return f"median {waits[len(waits) // 2]:.2f} s, slowest {waits[-1]:.2f} s"
