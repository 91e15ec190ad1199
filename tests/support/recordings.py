"""What the tests of recording and replay share: tools of every manner, and a conversation as a run file."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from agent.config import AgentConfig
from agent.replay import run_file as runs
from agent.storage.open import open_storage
from agent.tooling.folder import ToolFolder
from api.cli.replay import project_of
from api.replay.player import Project, Replayed, replay
from api.replay.recording import record, sent_otherwise
from api.settings import Settings
from tests.support.backend import ROOT, SECRET, Backend, Caller, backend
from tests.support.conversation import quiet
from tests.support.gemini import Gemini, Step

TOOLS = '''
import asyncio
from agent import say, show, voice_tool

@voice_tool(say="Checking {city}.", on_barge_in="cancel")
async def weather(city: str, seconds: float = 0.03) -> str:
    """The weather in a city."""
    await asyncio.sleep(seconds)
    return f"Sunny in {city}."

@voice_tool
async def order(thing: str, seconds: float = 0.04) -> str:
    """Order something."""
    await asyncio.sleep(seconds)
    return f"Ordered {thing}."

@voice_tool(on_barge_in="protect")
async def pay(seconds: float = 0.05) -> str:
    """Pay."""
    say("Paying now.")
    await asyncio.sleep(seconds)
    say("It is paid.")
    return "Paid."

@voice_tool(confirm="Book a table for {people}?", say="Booking.")
async def book(people: int, seconds: float = 0.03) -> str:
    """Book a table."""
    await asyncio.sleep(seconds)
    return f"Booked for {people}."

@voice_tool(say="One moment.")
async def broken() -> str:
    """It fails."""
    raise RuntimeError("the secret is 42")

@voice_tool(timeout=0.08, on_barge_in="cancel")
async def stuck() -> str:
    """It never ends."""
    await asyncio.sleep(60)
    return ""

@voice_tool(slow="Still counting to {number}.", slow_after=0.05)
async def count(number: int, seconds: float = 0.15) -> str:
    """Counts."""
    await asyncio.sleep(seconds)
    return str(number)

@voice_tool
async def talkative(seconds: float = 0.03) -> str:
    """Tells how it gets on."""
    say("Half way.")
    await asyncio.sleep(seconds)
    show({"page": [1, None, "é"]})
    say("Half way.")
    await asyncio.sleep(0.02)
    say("Nearly there.")
    return "Done."
'''


_NO_NETWORK = """
import sys
import pytest

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise SystemExit(f"{event} in a replay")

sys.addaudithook(refuse)
sys.exit(pytest.main(sys.argv[1:]))
"""


def pytest_on(folder: Path) -> subprocess.CompletedProcess[str]:
    """The project's tests of the files in `folder`, which is called `runs`, in a process that has no network, and
    no plugin but the project's."""
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    env = {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "LOG_LEVEL": "nonsense", "TOOLS_DIR": "no"}
    return subprocess.run(
        [sys.executable, "-c", _NO_NETWORK, "-q", "-p", "tests.support.run_files", "-p", "no:cacheprovider"],
        cwd=folder, env={**os.environ, **env}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def write_tools(folder: Path, text: str = TOOLS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "some.py").write_text(text)
    return folder


def project(folder: Path, **config: Any) -> Project:
    """What runs are replayed against: the tools in a folder, and the prompt of the project."""
    tools = ToolFolder(folder)
    tools.load()
    return Project(tools, AgentConfig(**config))


async def recorded(server: Backend, conversation: str, **settings: Any) -> runs.RunFile:
    """The run file of a conversation that `server` has had. Its turns and tools have ended by then."""
    await quiet(server)
    made = Settings(_env_file=None, layercode_webhook_secret=SecretStr(SECRET), **settings)
    today = project_of(made)
    async with open_storage(made.database_url) as storage:
        exported = await record(storage.database, conversation, made, today.config, today.folder)
    assert exported
    assert exported[1] == [], "today's code sends something else"
    return exported[0]


def record_once(folder: Path, tools: Path, play: Callable[[Caller], Awaitable[object]], *steps: Step) -> runs.RunFile:
    """The run file of a conversation, `c1`, for all tests of a module. The server and Gemini's stand-in are gone
    afterwards."""

    async def converse() -> runs.RunFile:
        settings = {"database_url": f"sqlite:///{folder}/voice.db", "tools_dir": tools}
        with Gemini() as gemini:
            gemini.script(*steps)
            async with backend(google_api_key="k", google_gemini_base_url=gemini.url, **settings) as server:
                await play(server.caller("c1"))
                made = await recorded(server, "c1", **settings)
            gemini.verify()
        return made

    return asyncio.run(converse())


def replayed(run: runs.RunFile, against: Project) -> Replayed:
    """Replay it: what was sent is what was recorded, and what came is the very same file."""
    came = replay(run, against)
    assert sent_otherwise(run, came.run) == []
    assert runs.dump_run(came.run) == runs.dump_run(run)
    return came
