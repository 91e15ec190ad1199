"""Asking the configured model again what a recorded one was asked: would it still do the same?

The callers' words and the tools' results are the recording's; the answers are new. Judged are only the tool calls
and their arguments, turn by turn: words always differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from agent.agent import open_agent
from agent.llm import Models
from agent.replay import run_file as runs
from agent.storage import open_temporary_storage
from agent.tooling import ToolResult, ToolRun
from agent.turns import HeardReport, Say, TurnRequest
from api.replay.player import Project, folder_for

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
    known = run.settings
    config = replace(project.config, today=lambda: known.today, welcome=known.welcome, welcome_back=known.welcome_back)
    compared = []
    async with (
        open_temporary_storage() as storage,
        open_agent(
            storage=storage, folder=folder_for(run, project.folder), models=models, config=config, perform=tools.perform
        ) as agent,
    ):
        for number, turn in enumerate(run.turns, 1):
            webhook = turn.webhook
            if webhook["kind"] == "data":
                await agent.note(webhook["conversation_id"], webhook["turn_id"], "data", webhook.get("data"))
                continue
            tools.called = []
            running = await agent.begin(_asked(webhook))
            said = "".join([event.text async for event in running.stream() if isinstance(event, Say)])
            then = "".join(content for _, event, content in turn.sent if event == "say")
            recorded = [(call.name, call.arguments) for call in turn.tools]
            compared.append(
                Comparison(
                    number, webhook.get("text", ""), (then, recorded), (said, tools.called),
                    turn.interrupted, running.failed,
                )
            )  # fmt: skip
    return compared


def _asked(webhook: runs.Webhook) -> TurnRequest:
    heard = webhook.get("heard")
    return TurnRequest(
        conversation_id=webhook["conversation_id"],
        turn_id=webhook["turn_id"],
        kind="welcome" if webhook["kind"] == "welcome" else "message",
        text=webhook.get("text", ""),
        heard=HeardReport(heard["text"], heard.get("turn_id")) if heard else None,
        caller=webhook.get("caller"),
        metadata=webhook.get("metadata", {}),
    )


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
