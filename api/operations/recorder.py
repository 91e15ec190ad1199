"""`RECORD_RUNS=DIR`: a run file for every conversation of a server."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import sys
from pathlib import Path

from agent.turns import Observer, Turn

log = logging.getLogger(__name__)

_LAST = 10.0  # seconds for what is written when the server stops
_IDLE = 3.0  # seconds after a conversation's last turn until its file is written


def run_file(folder: Path, conversation: str) -> Path:
    """The file of a conversation, and of no other: a name that is not its id has a hash of it."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", conversation)[:100]
    if name != conversation:
        name += f"~{hashlib.sha256(conversation.encode(errors='surrogatepass')).hexdigest()[:16]}"
    return folder / f"{name}.json"


def delete_run_file(folder: Path | None, conversation: str) -> int:
    """The file of a conversation, if there is one. How many there were."""
    path = run_file(folder, conversation) if folder else None
    if path is None or not path.exists():
        return 0
    path.unlink(missing_ok=True)
    return 1


class Recorder(Observer):
    """Writes a file into a folder for every conversation, `RECORD_RUNS=DIR`.

    Each is made by `voice record` in a process of its own, one at a time, once the conversation has been idle for a
    moment: no turn is slowed. What is still due when the server stops is written then.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._due: dict[str, asyncio.TimerHandle] = {}
        self._writing: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Semaphore(1)

    def turn_over(self, turn: Turn) -> None:
        conversation = turn.request.conversation_id
        if turn.request.stateless:
            return
        if conversation in self._due:
            self._due[conversation].cancel()
        self._due[conversation] = asyncio.get_running_loop().call_later(_IDLE, self._begin, conversation)

    async def close(self) -> None:
        for conversation, timer in list(self._due.items()):
            timer.cancel()
            self._begin(conversation)
        if not self._writing:
            return
        _, late = await asyncio.wait(self._writing, timeout=_LAST)
        for task in late:
            task.cancel()
        if late:
            log.error("the server stops, and %d conversations are not recorded", len(late))
            await asyncio.wait(late)

    def _begin(self, conversation: str) -> None:
        self._due.pop(conversation, None)
        task = asyncio.create_task(self._write(conversation))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, conversation: str) -> None:
        path = run_file(self._folder, conversation)
        async with self._one_at_a_time:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "api.cli.main", "record", "--conversation", conversation, "--out", str(path),
                env={**os.environ, "MODEL": "demo"}, stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL, start_new_session=True,  # Ctrl-C is for the server
            )  # fmt: skip
            try:
                status = await process.wait()
            except asyncio.CancelledError:
                process.kill()
                await process.wait()
                raise
            if status:
                log.error("conversation=%r could not be recorded: voice record ended with %d", conversation, status)
