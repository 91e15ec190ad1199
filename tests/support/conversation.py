"""What the tests of interruptions share: tools that write down what they do, and a look into the memory.

The tools' record is a file, a line per deed: `conversation tool what`. It outlives a killed process.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path
from typing import Any

from agent.storage.results import NOT_STARTED, STILL_RUNNING, UNKNOWN
from tests.support.backend import Backend
from tests.support.gemini import Gemini, Request, said

Json = dict[str, Any]
NEVER_ASKED = "⟦system: The caller went on before hearing an answer."

_TOOLS = '''
import asyncio
import time
from pathlib import Path
from agent import say, tool_context, voice_tool

RECORD = Path(__file__).with_name("record")

def record(tool, what):
    with RECORD.open("a") as file:
        file.write(f"{tool_context().conversation_id} {tool} {what}\\n")

async def work(tool, seconds):
    record(tool, "began")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        record(tool, "cancelled")
        raise
    record(tool, "done")

@voice_tool(say="Checking {city}.", on_barge_in="cancel")
async def fetch(city: str, seconds: float = 0.02) -> str:
    """Only reads."""
    await work("fetch", seconds)
    return f"Sunny in {city}."

@voice_tool
async def order(thing: str, seconds: float = 0.03) -> str:
    """An action."""
    await work("order", seconds)
    return f"Ordered {thing}."

@voice_tool(on_barge_in="protect")
async def pay(seconds: float = 0.02) -> str:
    """An action that speaks."""
    say("Paying now.")
    await work("pay", seconds)
    say("It is paid.")
    return "Paid."

@voice_tool(confirm="Book a table for {people} at {time}?")
async def book(people: int, time: str, seconds: float = 0.02) -> str:
    """An action that is confirmed first."""
    await work("book", seconds)
    record("book", f"people={people} time={time}")
    return f"Booked for {people} at {time}."

@voice_tool(say="One moment.")
async def broken(seconds: float = 0.01) -> str:
    """It fails."""
    await work("broken", seconds)
    raise RuntimeError("the secret is 42")

@voice_tool
def label(seconds: float = 0.02) -> str:
    """A sync action."""
    record("label", "began")
    time.sleep(seconds)
    record("label", "done")
    return "Printed."

@voice_tool(on_barge_in="cancel")
async def stubborn(seconds: float = 0.6) -> str:
    """It will not be cancelled."""
    record("stubborn", "began")
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        try:
            await asyncio.sleep(ends - time.monotonic())
        except asyncio.CancelledError:
            record("stubborn", "cancelled")
    record("stubborn", "done")
    return "Stubbornly done."
'''


class Tools:
    """A folder with the tools above, and what they have done."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tools.py").write_text(_TOOLS)
        self.folder = folder

    def done(self, conversation: str) -> Counter[str]:
        """How often each thing was done in a conversation: {"order began": 1, "order done": 1}."""
        file = self.folder / "record"
        lines = file.read_text().splitlines() if file.exists() else []
        return Counter(line.partition(" ")[2] for line in lines if line.startswith(f"{conversation} "))

    async def until(self, conversation: str, deed: str, seconds: float = 5.0) -> None:
        async with asyncio.timeout(seconds):
            while not self.done(conversation)[deed]:
                await asyncio.sleep(0.005)


def question(body: Json) -> str:
    """The caller's newest words, without the system notes before them."""
    for content in reversed(body["contents"]):
        texts = [part["text"] for part in content["parts"] if content["role"] == "user" and "text" in part]
        if texts:
            return str(texts[-1]).rpartition("\n")[2]
    return ""


def steps_taken(body: Json) -> int:
    """How often the model has spoken since the caller did."""
    count = 0
    for content in reversed(body["contents"]):
        if content["role"] == "user" and any("text" in part for part in content["parts"]):
            return count
        count += content["role"] == "model"
    return count


def request_for(gemini: Gemini, words: str) -> Request:
    """The first request in which these were the caller's newest words."""
    return next(r for r in list(gemini.requests) if said(r.body).endswith(words))


def requests_for(gemini: Gemini, words: str) -> list[Request]:
    return [r for r in list(gemini.requests) if question(r.body).endswith(words)]


def answers_in(body: Json) -> list[str]:
    """What the assistant said, by its memory; messages that carry calls are left out."""
    contents = [c for c in body["contents"] if c["role"] == "model"]
    plain = [c for c in contents if not any("functionCall" in part for part in c["parts"])]
    return ["".join(part.get("text", "") for part in content["parts"]) for content in plain]


def results_in(body: Json) -> list[tuple[str, str]]:
    """(tool, result) of every answered call."""
    parts = [part["functionResponse"] for c in body["contents"] for part in c["parts"] if "functionResponse" in part]
    return [(part["name"], str(part["response"].get("output", part["response"]))) for part in parts]


def caller_said(body: Json) -> str:
    """All that stands in the caller's name."""
    parts = [part for c in body["contents"] if c["role"] == "user" for part in c["parts"]]
    return "\n".join(part["text"] for part in parts if "text" in part)


def offered(body: Json) -> set[str]:
    """The names of the tools the model had."""
    return {f["name"] for tool in body.get("tools", []) for f in tool["functionDeclarations"]}


def words(spoken: str) -> list[str]:
    return re.findall(r"\w+", spoken.lower())


async def quiet(backend: Backend, seconds: float = 5.0) -> None:
    """Wait until no turn and no tool is running."""
    agent = backend.agent
    assert agent
    async with asyncio.timeout(seconds):
        while agent.open_turns or agent._tool_runner.running:
            await asyncio.sleep(0.005)


def each_action_once(done: Counter[str], body: Json) -> None:
    """The invariant of actions: nothing began twice, what was to finish has finished, what the memory calls
    not started never began, and what it says was done was done."""
    for deed, count in done.items():
        assert count == 1, f"{deed}: {count} times"
    for tool in ("order", "pay", "book", "label", "broken"):
        assert done[f"{tool} began"] == done[f"{tool} done"], f"{tool} did not finish: {done}"
        assert not done[f"{tool} cancelled"]
    for name, result in results_in(body):
        assert result != STILL_RUNNING, f"{name} is over, and the memory does not know"
        assert result != UNKNOWN, f"{name} is known to be over"
        if result == NOT_STARTED and name != "confirm":
            assert not done[f"{name} began"], f"{name} was begun: {done}"
