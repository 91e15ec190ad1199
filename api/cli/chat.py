"""`voice chat`: the agent in the terminal, without a server.

The answer streams as `agent: …`; what a tool says and does stands on lines of its own. Ctrl-C while the agent
speaks is a barge-in: the agent is told what had been printed. The agent can hang up; Ctrl-D leaves. From a pipe each
line is a turn.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from agent.agent import Agent
from agent.replay import save_run
from agent.storage import Storage
from agent.turns import CallControl, Event, HeardReport, Say, Show, Turn, TurnRequest
from api.cli.printing import echo
from api.replay import record
from api.settings import Settings
from api.wiring import AgentParts, open_configured

_PROMPT = "you: "
_ABILITIES = frozenset({"hang_up"})


async def chat(settings: Settings, parts: AgentParts, record_to: Path | None = None) -> None:
    """Talk until the input ends; then, if wanted, write the conversation as a run file."""
    async with open_configured(settings, parts) as (agent, storage):
        conversation = Conversation(agent, uuid.uuid4().hex)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, conversation.barge_in)
        try:
            await conversation.speak("welcome", "")
            async for line in _lines():
                if line.strip():
                    await conversation.speak("message", line.strip())
                if conversation.hung_up:
                    break
            await agent.drain(settings.drain_seconds)
        finally:
            loop.remove_signal_handler(signal.SIGINT)
        if record_to:
            await _record(conversation.id, record_to, settings, parts, storage)


async def _record(conversation: str, path: Path, settings: Settings, parts: AgentParts, storage: Storage) -> None:
    recorded = await record(storage.database, conversation, settings, parts.config, parts.folder)
    if recorded:
        save_run(recorded[0], path)
        echo(f"Recorded: {path}. It is a test when it stands in tests/runs/.")


class Conversation:
    """One conversation in the terminal. `hung_up`: the agent has ended it."""

    def __init__(self, agent: Agent, id_: str) -> None:
        self._agent = agent
        self.id = id_
        self.hung_up = False
        self._count = 0
        self._turn: Turn | None = None
        self._heard: HeardReport | None = None

    async def speak(self, kind: Any, text: str) -> None:
        """Run one turn and print it."""
        request = TurnRequest(self.id, f"turn-{self._count}", kind, text, heard=self._heard, abilities=_ABILITIES)
        self._count += 1
        self._heard = None
        self._turn = await self._agent.begin(request)
        printer = _Printer()
        async for event in self._turn.stream():
            if self._turn.interrupted:
                break
            printer.print(event)
        self.hung_up = printer.hung_up and not self._turn.interrupted
        if self.hung_up:
            printer.aside("— hung up")
        if self._turn.interrupted:
            self._heard = HeardReport(printer.heard, request.turn_id)
            printer.aside("— interrupted")
        printer.end()
        self._turn = None

    def barge_in(self) -> None:
        if self._turn:
            self._turn.interrupt()
        else:
            echo(f"\n(Ctrl-D leaves.)\n{_PROMPT}", nl=False)


class _Printer:
    """Prints a turn's events; `heard` is what was printed of its words. `hung_up`: the call is to end after them."""

    def __init__(self) -> None:
        self.heard = ""
        self.hung_up = False
        self._in_answer = False

    def print(self, event: Event) -> None:
        if isinstance(event, Say):
            self.heard += event.text
        if isinstance(event, Say) and event.of is not None:
            self._answer(event.text)
        elif isinstance(event, Say):
            self.aside(f"… {event.text.strip()}")
        elif isinstance(event, Show):
            self.aside(_described(event.data))
        elif isinstance(event, CallControl):
            self.hung_up = True

    def aside(self, text: str) -> None:
        self.end()
        echo(f"  {text}", dim=True)

    def end(self) -> None:
        if self._in_answer:
            echo()
        self._in_answer = False

    def _answer(self, text: str) -> None:
        if not self._in_answer:
            echo("agent: ", fg="cyan", nl=False)
            text = text.lstrip()
        self._in_answer = True
        echo(text, nl=False)
        sys.stdout.flush()


def _described(data: Any) -> str:
    """A tool's doings in a line; whatever else it shows as it is."""
    if not (isinstance(data, dict) and data.keys() >= {"tool", "status", "ms"}):
        return f"[shows] {json.dumps(data, ensure_ascii=False, default=str)}"
    took = "" if data["status"] == "started" else f" ({data['ms']} ms)"
    return f"[{data['tool']}] {data['status']}{took}"


async def _lines() -> AsyncIterator[str]:
    """Lines from the terminal or a pipe. A thread of its own reads them, as nothing can interrupt a `read`."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue()
    wanted = threading.Semaphore(0)

    def read() -> None:
        line: str | None = ""
        while line is not None:
            wanted.acquire()
            line = _line()
            loop.call_soon_threadsafe(lines.put_nowait, line)

    threading.Thread(target=read, daemon=True, name="stdin").start()
    while True:
        wanted.release()
        line = await lines.get()
        if line is None:
            return
        yield line


def _line() -> str | None:
    if not sys.stdin.isatty():
        return sys.stdin.readline() or None
    try:
        return input(_PROMPT)
    except EOFError:
        print()  # noqa: T201 - the prompt's line is still open
        return None
