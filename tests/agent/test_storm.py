"""Hundreds of turns with everything that goes wrong in calls: interruptions, duplicates, delays, killed servers.

`STORM_TURNS=1000` makes it a thousand. What must hold afterwards: every caller's message was seen by the model, no
action ran twice, every history sent to the model was valid, and the server's memory and open files are back where
they were. The conversations are held over all platforms in turn.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx

from api.platforms import CLIENTS
from tests.support.backend import SECRET, Backend, Caller, Reply, client, free_port, process, until_ready
from tests.support.gemini import Gemini, Step, calls, responses, said, text
from tests.support.platform_caller import OTHERS, PlatformCaller
from tests.support.platform_caller import SECRET as PLATFORM_SECRET

AnyCaller = Caller | PlatformCaller
CONVERSATIONS = 25
TURNS = int(os.environ.get("STORM_TURNS", "300")) // CONVERSATIONS
TOOL = '''
import asyncio, os
from agent import voice_tool

@voice_tool(timeout=10)
async def record(item: str) -> str:
    """Write an item down."""
    await asyncio.sleep(0.05)
    with open(os.environ["RECORDED"], "a") as file:
        file.write(item + "\\n")
    return f"{item} is written down."
'''
WORDS = "this is a rather long answer so that there is enough of it to be interrupted somewhere in the middle"


def answer(body: Any) -> Step:
    """`record item`: calls the tool, then says so. Anything else: a long answer."""
    found = re.search(r"record (\S+)$", said(body))
    if found and not responses(body):
        return calls(("record", {"item": found[1]}))
    return text(WORDS, delay=0.01)


@dataclass
class Storm:
    """What happened, from outside. `accepted`: messages that the server took."""

    accepted: set[str] = field(default_factory=set)
    unended: list[str] = field(default_factory=list)
    turns: int = 0


async def converse(caller: AnyCaller, storm: Storm, seed: int, turns: int = TURNS) -> None:
    """One conversation of interruptions, duplicates and delays, the same for the same seed."""
    chance = random.Random(seed)
    heard = None
    for number in range(turns):
        item = f"{caller.conversation}-{number}"
        words = f"{chance.choice(('record', 'tell'))} {item}"
        reply = await speak(caller, chance, words, f"t{number}", heard)
        storm.turns += 1
        storm.accepted.add(words)
        if not reply.hung_up and not reply.ended_once:
            storm.unended.append(words)
        heard = (reply.turn_id, _some_of(reply.text, chance)) if reply.hung_up and chance.random() < 0.5 else None
        await asyncio.sleep(chance.random() * 0.05)
    await until_taken(caller, "goodbye", "last")
    await caller.close()


async def speak(caller: AnyCaller, chance: random.Random, words: str, turn: str, heard: Any) -> Reply:
    what = chance.random()
    if what < 0.35:
        return await until_taken(caller, words, turn, heard=heard, hang_up_after=chance.randint(1, 12))
    if what < 0.45:
        return await until_taken(caller, words, turn, heard=heard, hang_up_at=0.1 + chance.random() * 0.3)
    if what < 0.6 and isinstance(caller, PlatformCaller):
        return await until_taken(caller, words, turn, heard=heard, again=True)
    if what < 0.6:
        first, second = await asyncio.gather(*(until_taken(caller, words, turn, heard=heard) for _ in range(2)))
        assert first.raw == second.raw or not (first.ended_once and second.ended_once)
        return first
    return await until_taken(caller, words, turn, heard=heard)


async def until_taken(caller: AnyCaller, words: str, turn: str, **how: Any) -> Reply:
    """Send it until a server takes it. A stream that breaks off counts as hung up. Who has heard all of an answer does
    not ask again, though the connection has broken before its end was told."""
    for _ in range(600):
        reply = Reply(0, turn)
        try:
            reply = await caller.say(words, turn=turn, **how)
        except (httpx.RemoteProtocolError, httpx.ReadError):
            reply.hung_up = True  # killed in mid-stream: taken or not, it is sent again
        except httpx.ConnectError:
            pass
        if reply.status == 200 or reply.text.endswith(WORDS):
            return reply
        await asyncio.sleep(0.05)
    raise AssertionError("no server took the message")


def _some_of(words: str, chance: random.Random) -> str:
    said = words.upper().split()
    return " ".join(said[: chance.randint(0, len(said))])


@asynccontextmanager
async def server(port: int, env: dict[str, str], http: httpx.AsyncClient) -> AsyncIterator[Backend]:
    with process(["serve", "--port", str(port)], **env) as running:
        url = f"http://127.0.0.1:{port}"
        await until_ready(http, url, running)
        yield Backend(url, http, process=running)


def environment(gemini: Gemini, folder: Path) -> dict[str, str]:
    (folder / "tools").mkdir()
    (folder / "tools" / "record.py").write_text(TOOL)
    return {
        "LAYERCODE_WEBHOOK_SECRET": SECRET, "GOOGLE_API_KEY": "test-key", "GOOGLE_GEMINI_BASE_URL": gemini.url,
        "DATABASE_URL": f"sqlite:///{folder}/voice.db", "TOOLS_DIR": str(folder / "tools"),
        "RECORDED": str(folder / "recorded"), "FIRST_TOKEN_SECONDS": "30", "LOG_LEVEL": "warning",
        **platforms_on(),
    }  # fmt: skip


def platforms_on() -> dict[str, str]:
    """The environment that switches the other platforms on."""
    secrets = {CLIENTS[platform].secret.upper(): PLATFORM_SECRET for platform in OTHERS}
    return {**secrets, "ACTION_HOLD_SECONDS": "0.05"}


def callers(port: int, http: httpx.AsyncClient, name: str = "") -> list[AnyCaller]:
    """Over each platform as many."""
    url = f"http://127.0.0.1:{port}"
    made: list[AnyCaller] = []
    for number, platform in zip(range(CONVERSATIONS), cycle(CLIENTS), strict=False):
        called = f"{name}{platform.replace('-', '')}{number}"
        here = platform == "layercode"
        made.append(Caller(f"{url}/api/agent", http, called) if here else PlatformCaller(platform, url, called))
    return made


def check(storm: Storm, gemini: Gemini, folder: Path) -> None:
    """Nothing is lost, nothing doubled, nothing invalid."""
    assert storm.turns == CONVERSATIONS * TURNS
    bodies = " ".join(str(request.body["contents"]) for request in gemini.requests)
    shown = set(re.findall(r"(?:record|tell) [a-z]+\d+-\d+", bodies))
    lost = [words for words in storm.accepted if words not in shown]
    assert not lost, f"{len(lost)} messages never reached the model, such as {lost[:3]}"
    recorded = Counter((folder / "recorded").read_text().split())
    assert recorded, "no action ran at all"
    assert max(recorded.values()) == 1, recorded.most_common(3)
    gemini.verify()


async def test_a_storm_of_interruptions_duplicates_and_delays(gemini: Gemini, tmp_path: Path) -> None:
    """Nothing is lost, nothing doubled, nothing invalid; memory and open files are back where they were."""
    gemini.answer = answer
    storm, port = Storm(), free_port()
    async with client() as http, server(port, environment(gemini, tmp_path), http) as backend:
        assert backend.process is not None
        await asyncio.gather(*(converse(c, Storm(), 99, turns=3) for c in warm_up(callers(port, http))))
        await asyncio.sleep(1)
        before = resources(backend.process.pid)
        await asyncio.gather(*(converse(c, storm, n) for n, c in enumerate(callers(port, http))))
        await asyncio.sleep(1)
        after = resources(backend.process.pid)
    check(storm, gemini, tmp_path)
    assert not storm.unended
    assert after.files <= before.files + 5, (before, after)
    assert after.memory_mb < before.memory_mb + 40, (before, after)


async def test_a_storm_with_the_server_killed_every_few_seconds(gemini: Gemini, tmp_path: Path) -> None:
    """`kill -9` and restart, again and again: nothing is lost, nothing doubled, nothing invalid."""
    gemini.answer = answer
    storm, port, env, kills = Storm(), free_port(), environment(gemini, tmp_path), 0
    async with client() as http:
        talking = asyncio.gather(*(converse(c, storm, n) for n, c in enumerate(callers(port, http))))
        while not talking.done() and kills < max(4, TURNS // 5):
            async with server(port, env, http) as backend:
                assert backend.process is not None
                await asyncio.wait([talking], timeout=1.5)
                backend.process.send_signal(signal.SIGKILL)
                kills += 1
        async with server(port, env, http):
            await asyncio.wait_for(talking, timeout=120)
    assert kills > 2
    check(storm, gemini, tmp_path)


def warm_up(some: list[AnyCaller]) -> list[AnyCaller]:
    for caller in some:
        caller.conversation = f"warm-{caller.conversation}"
    return some


@dataclass(frozen=True)
class Resources:
    memory_mb: float
    files: int


def resources(pid: int) -> Resources:
    status = Path(f"/proc/{pid}/status").read_text()
    kilobytes = int(re.search(r"VmRSS:\s+(\d+)", status)[1])  # type: ignore[index]
    return Resources(kilobytes / 1024, len(os.listdir(f"/proc/{pid}/fd")))
