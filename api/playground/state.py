"""What the page shows beside the conversation, and saving a conversation as a test."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.agent import Agent
from agent.replay import inspect, tools_found
from agent.replay import run_file as runs
from agent.storage import Storage
from api.replay.recording import record
from api.settings import Settings
from api.wiring import AgentParts

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_FOLDER = Path("tests/runs")


class NotSaved(Exception):
    """The text is a sentence for the page."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Own:
    """This server's own agent. `agent` and `storage` give it while the server runs."""

    settings: Settings
    parts: AgentParts
    agent: Callable[[], Agent]
    storage: Callable[[], Storage]


async def state_of(own: Own, conversation: str) -> dict[str, Any]:
    tools = await tools_found(own.agent())
    return {
        "model": own.settings.model,
        "demo": own.settings.model == "demo",
        "tools": tools,
        "tool_errors": own.agent().folder.errors,
        **await inspect(own.agent(), own.storage(), conversation),
    }


FOREIGN: dict[str, Any] = {
    "model": None, "demo": None, "tools": [], "tool_errors": [], "memory": [], "pending": None, "turns": [],
}  # fmt: skip


async def save(own: Own | None, conversation: str, name: str) -> dict[str, Any]:
    """Write `tests/runs/NAME.json`: {file, differs}. NotSaved when that cannot be done."""
    path = _FOLDER / f"{name}.json"
    if own is None:
        raise NotSaved(409, "Only conversations with this server's own agent can be saved: another backend keeps its.")
    if not _NAME.fullmatch(name):
        raise NotSaved(400, "A name has letters, digits, - and _, at most 64, and begins with a letter or a digit.")
    if path.exists():
        raise NotSaved(409, f"There is a {path} already. Take another name, or delete the file.")
    if own.agent().running(conversation):
        raise NotSaved(409, "A turn is still running. Save the conversation when it is over.")
    parts = own.parts
    made = await record(own.storage().database, conversation, own.settings, parts.config, parts.folder)
    if made is None:
        raise NotSaved(404, "There is no such conversation yet: say something first.")
    try:
        runs.save_run(made[0], path)
    except runs.RunFileError as error:
        raise NotSaved(409, str(error)) from None
    return {"file": str(path), "differs": made[1]}
