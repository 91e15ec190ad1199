"""The state that the page shows beside the conversation, and saving a conversation as a run file."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.agent import Agent
from agent.replay import inspect, tools_found
from agent.replay import run_file as runs
from agent.storage import Storage
from api.replay import record
from api.settings import Settings
from api.wiring import AgentParts

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_FOLDER = Path("tests/runs")


class NotSaved(Exception):
    """The conversation was not saved. status: of the response. The text is a sentence for the page."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class OwnBackend:
    """This server's own agent. agent, storage: return it and its storage while the server runs."""

    settings: Settings
    parts: AgentParts
    agent: Callable[[], Agent]
    storage: Callable[[], Storage]


async def state_of(own: OwnBackend, conversation: str) -> dict[str, Any]:
    """What the page shows of a conversation with this server\'s agent: model, tools, memory, turns."""
    tools = await tools_found(own.agent())
    return {
        "model": own.settings.model,
        "demo": own.settings.model == "demo",
        "tools": tools,
        "tool_errors": own.agent().folder.errors,
        **await inspect(own.agent(), own.storage(), conversation),
    }


OTHER_BACKEND: dict[str, Any] = {
    "model": None, "demo": None, "tools": [], "tool_errors": [], "memory": [], "pending": None,
    "language": "", "turns": [],
}  # fmt: skip


async def save(own: OwnBackend | None, conversation: str, name: str) -> dict[str, Any]:
    """Write the conversation to `tests/runs/NAME.json`.

    Returns the path as `file`, and as `differs` the numbers of the turns that do not replay as they went. Raises
    NotSaved.
    """
    path = _FOLDER / f"{name}.json"
    if own is None:
        raise NotSaved(409, "Only conversations with this server's own agent can be saved: another backend keeps its.")
    if not _NAME.fullmatch(name):
        raise NotSaved(400, "A name has letters, digits, - and _, at most 64, and begins with a letter or a digit.")
    if await asyncio.to_thread(path.exists):
        raise NotSaved(409, f"There is a {path} already. Take another name, or delete the file.")
    if own.agent().running(conversation):
        raise NotSaved(409, "A turn is still running. Save the conversation when it is over.")
    parts = own.parts
    made = await record(own.storage().database, conversation, own.settings, parts.config, parts.folder)
    if made is None:
        raise NotSaved(404, "There is no such conversation yet: say something first.")
    try:
        await asyncio.to_thread(runs.save_run, made[0], path)
    except runs.RunFileError as error:
        raise NotSaved(409, str(error)) from None
    return {"file": str(path), "differs": made[1]}
