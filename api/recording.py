"""Making run files: from the journal of a conversation, and for every conversation of a server."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
from pathlib import Path

from agent import runs
from agent.agent import Habits
from agent.export import export_run
from agent.memory import Database
from agent.tool_files import ToolFolder
from agent.turn import Turn
from api.replay import Project, replay
from api.settings import Settings

log = logging.getLogger(__name__)

_IDLE = 3.0  # seconds after a conversation's last turn until its file is written


async def record(
    database: Database, conversation: str, settings: Settings, habits: Habits, folder: ToolFolder
) -> tuple[runs.RunFile, list[int]] | None:
    """The run file of a finished conversation, scrubbed, and the numbers of the turns in which today's code sends
    something else than was sent. None when the journal does not have the conversation.

    The expectations come from replaying it once, with today's prompt and tools.
    """
    run = await export_run(database, conversation)
    if run is None:
        return None
    run.settings = runs.Settings(
        welcome=habits.welcome,
        apology=settings.apology_message,
        turn_timeout=settings.turn_timeout_seconds,
        first_token=settings.first_token_seconds,
        max_tool_steps=settings.max_tool_steps,
        today=habits.today(),
    )
    clean = runs.scrubbed(run, _secrets(settings))
    replayed = (await asyncio.to_thread(replay, clean, Project(folder, habits))).run
    return replayed, sent_otherwise(clean, replayed)


def sent_otherwise(recorded: runs.RunFile, replayed: runs.RunFile) -> list[int]:
    """The numbers of the turns in which the replay sent something else than the recording did."""
    pairs = zip(recorded.turns, replayed.turns, strict=True)
    return [n for n, (one, other) in enumerate(pairs, 1) if _content(one) != _content(other)]


def _content(turn: runs.Turn) -> list[tuple[str, object]]:
    return [(kind, _timeless(content)) for _, kind, content in turn.sent]


def _timeless(content: object) -> object:
    return {**content, "ms": 0} if isinstance(content, dict) and "ms" in content else content


def _secrets(settings: Settings) -> list[str]:
    kept = (settings.layercode_webhook_secret, settings.layercode_api_key, settings.google_api_key)
    return [secret.get_secret_value() for secret in kept if secret]


class Recorder:
    """Writes a file into a folder for every conversation, `RECORD_RUNS=DIR`.

    Each is made by `voice record` in a process of its own, one at a time, once the conversation has been idle for a
    moment: no turn is slowed. What is still due when the server stops is written then.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._due: dict[str, asyncio.TimerHandle] = {}
        self._writing: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Semaphore(1)

    def observe(self, turn: Turn) -> None:
        conversation = turn.asked.conversation_id
        if conversation in self._due:
            self._due[conversation].cancel()
        self._due[conversation] = asyncio.get_running_loop().call_later(_IDLE, self._begin, conversation)

    async def close(self) -> None:
        for conversation, timer in list(self._due.items()):
            timer.cancel()
            self._begin(conversation)
        if self._writing:
            await asyncio.wait(self._writing)

    def _begin(self, conversation: str) -> None:
        self._due.pop(conversation, None)
        task = asyncio.create_task(self._write(conversation))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, conversation: str) -> None:
        path = self._folder / f"{re.sub(r'[^A-Za-z0-9._-]', '_', conversation)[:100]}.json"
        async with self._one_at_a_time:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "api.cli", "record", "--conversation", conversation, "--out", str(path),
                env={**os.environ, "MODEL": "demo"}, stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            if await process.wait():
                log.error("a conversation could not be recorded: voice record ended with %d", process.returncode)
