"""Asking the configured model again what a recorded one was asked: would it still do the same?

The callers' words and the tools' results are the recording's; the answers are new. Judged are only the tool calls
and their arguments, turn by turn: words always differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent.llm import Models
from agent.replay import Progress
from agent.replay import run_file as runs
from agent.tooling import ToolResult, ToolRun
from api.replay.application import settings_for, temporary_application
from api.replay.heard import words_of
from api.replay.player import Project, config_for, folder_for
from api.replay.wires import client_of, open_wire
from api.wiring import AgentParts

Calls = Sequence[tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class Comparison:
    """One turn, then and now. number: its place in the file. then, now: (spoken words, tool calls). interrupted: the
    recording has only the beginning. failed: the model gave no answer now."""

    number: int
    caller: str
    then: tuple[str, Calls]
    now: tuple[str, Calls]
    interrupted: bool
    failed: bool

    @property
    def same(self) -> bool:
        then, now = list(self.then[1]), list(self.now[1])
        return not self.failed and then == (now[: len(then)] if self.interrupted else now)


async def ask_again(run: runs.RunFile, project: Project, models: Models) -> list[Comparison]:
    """Hold the conversation again, a turn at a time, each until its end."""
    tools = _Results(run)
    parts = AgentParts(folder_for(run, project.folder), models, config_for(run.settings, project))
    compared, progress = [], Progress()
    settings = settings_for(client_of(run))
    async with (
        temporary_application(parts, settings=settings, perform=tools.perform, observers=[progress]) as (app, _, _),
        open_wire(run, app) as wire,
    ):
        for number, turn in enumerate(run.turns, 1):
            webhook = turn.webhook
            tools.called = []
            came = await wire.talk(turn.model_copy(update={"hung_up": None}))
            if webhook["kind"] == "data":
                continue
            await progress.begun[webhook["turn_id"]].wait()  # the recorded model is not asked, so the turn is over
            recorded = [(call.name, call.arguments) for call in turn.tools]
            compared.append(
                Comparison(
                    number, webhook.get("text", ""), (words_of(turn.sent), recorded),
                    (words_of(came.sent), tools.called), turn.interrupted, progress.over[webhook["turn_id"]].failed,
                )
            )  # fmt: skip
    return compared


class _Results:
    """Answers a call as the recording did: one with the same arguments, else one of the same tool."""

    def __init__(self, run: runs.RunFile) -> None:
        self._recorded = [call for turn in run.turns for call in turn.tools]
        self.called: list[tuple[str, dict[str, Any]]] = []

    async def perform(self, run: ToolRun) -> ToolResult:
        name, arguments = run.tool_call.tool.name, run.tool_call.arguments
        self.called.append((name, arguments))
        named = [call for call in self._recorded if call.name == name and call.ended in ("finished", "failed")]
        found = next((call for call in named if call.arguments == arguments), named[0] if named else None)
        if found is None:
            return ToolResult("This tool has no result in the recording.", failed=True)
        return ToolResult(found.result, failed=found.ended == "failed")
