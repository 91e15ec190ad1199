"""Replaying a run file through the real application, in virtual time: webhooks in, events out, no network."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from copy import copy
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from agent.agent import Agent
from agent.config import AgentConfig
from agent.llm import Models
from agent.replay import (
    Progress,
    RecordedModel,
    RecordedTools,
    broken,
    export_run,
    interrupted_everywhere,
    run_in_virtual_time,
)
from agent.replay import run_file as runs
from agent.storage import Storage
from agent.tooling import ToolFolder
from agent.tooling import offered as tools_for
from agent.turns import Summary, Turn, compact
from api.replay.application import settings_for, temporary_application
from api.replay.heard import Heard, words_of
from api.replay.socket_wires import ahead, was_cut_off
from api.replay.wires import PAUSES, Wire, client_of, follow, open_wire
from api.wiring import AgentParts, open_servers

if TYPE_CHECKING:
    from agent.tooling import ServerConfig

_LONGEST = 24 * 3600.0  # seconds of virtual time: a replay that has not ended by then hangs


@dataclass(frozen=True)
class Project:
    """What a run is replayed against: today's tools, prompt and settings."""

    folder: ToolFolder
    config: AgentConfig


@dataclass(frozen=True)
class Replayed:
    """`run`: what came, in the form of a run file. `streams`: a stream for each turn. `turns`: the turns as the
    agent had them, by id. `ran`: the keys of the tool calls that ran. `memory`: the conversation's at the end, as
    `compact` gives it."""

    run: runs.RunFile
    streams: Sequence[Heard]
    turns: dict[str, Turn]
    ran: Sequence[str]
    memory: Sequence[Mapping[str, Any]] = ()


def replay(run: runs.RunFile, project: Project) -> Replayed:
    """Replay it, on its own settings and today's code, prompt and tools. Those of MCP servers are the recording's."""
    progress = Progress()
    tools = RecordedTools(run.turns, progress)
    project = replace(project, folder=folder_for(run, project.folder))
    return run_in_virtual_time(_replay(run, project, progress, tools))


def replay_with_tools(run: runs.RunFile, project: Project, servers: Mapping[str, ServerConfig]) -> Replayed:
    """As `replay`, but the tools really run, in real time but for the caller's pauses, on memory that is gone
    afterwards."""

    async def replayed() -> Replayed:
        async with open_servers(servers, project.folder):
            return await _replay(run, project, Progress(), None)

    return asyncio.run(replayed())


def folder_for(run: runs.RunFile, folder: ToolFolder) -> ToolFolder:
    """The folder, with the MCP servers' tools that the run was offered."""
    if not any("mcp" in tool for tool in run.offered.values()):
        return folder
    from agent.tooling.mcp_tools import recorded_tools

    folder = copy(folder)
    try:
        folder.offer("the recording", recorded_tools(run.offered))
    except ValueError as error:
        raise runs.RunFileError(f"A run file cannot be replayed. {error}") from None
    return folder


def barge_in_everywhere(run: runs.RunFile, project: Project) -> Iterator[tuple[str, list[str]]]:
    """Replay it once for each of its events, hanging up there. Yields the place, and what did not hold."""
    pause = PAUSES[client_of(run)]
    for label, cut in interrupted_everywhere(run, lambda webhook, words: follow(run, webhook, words), pause):
        came = replay(cut, project)
        turn, question = cut.turns[-2:]
        heard, answer = (words_of(stream.sent) for stream in came.streams[-2:])
        faults = list(broken(turn, heard, came.turns[question.webhook["turn_id"]], answer, came.ran))
        asked = zip(cut.turns, came.streams, strict=True)
        if any(s.ended != 1 and not s.hung_up for turn, s in asked if turn.webhook["kind"] != "data"):
            faults.append("a stream did not end with one response.end")
        yield label, faults


async def _replay(run: runs.RunFile, project: Project, progress: Progress, tools: RecordedTools | None) -> Replayed:
    async with asyncio.timeout(_LONGEST):
        async with _application(run, project, progress, tools) as (app, agent, storage):
            async with open_wire(run, app) as wire:
                streams = await _drive(run, wire, tools, progress)
                await agent.drain(_LONGEST / 2)
            conversation = run.turns[0].webhook["conversation_id"] if run.turns else ""
            came = await export_run(storage.database, conversation) or runs.RunFile()
            memory = compact((await storage.state(conversation)).get("messages", []))
        complete = _complete(run, came, progress.over, streams, project, recorded_tools=tools is not None)
        return Replayed(complete, streams, progress.over, tools.ran if tools else [], memory)


def _application(
    run: runs.RunFile, project: Project, progress: Progress, tools: RecordedTools | None
) -> AbstractAsyncContextManager[tuple[FastAPI, Agent, Storage]]:
    answers = {turn.webhook["turn_id"]: deque(turn.models) for turn in run.turns}
    interrupted = [turn.webhook["turn_id"] for turn in run.turns if turn.interrupted]
    model = RecordedModel(answers=answers, interrupted=interrupted, progress=progress)
    taken = {turn.webhook["turn_id"]: turn.summary for turn in run.turns}
    summaries = {turn: Summary(kept.text, kept.until) for turn, kept in taken.items() if kept}
    stand_ins = {"perform": tools.perform, "perform_check": tools.check} if tools else {}
    options: Any = {**stand_ins, "summaries": summaries, "observers": [progress]}
    settings = settings_for(client_of(run))
    return temporary_application(parts_for(run.settings, project, model), settings=settings, **options)


def parts_for(settings: runs.RecordedSettings, project: Project, model: Any) -> AgentParts:
    """The project's agent with this model and these settings."""
    models = Models(
        model,
        model if settings.fallback else None,
        first_token=settings.first_token,
        apology=settings.apology,
        ending=settings.ending,
        thinking=settings.thinking,
    )
    return AgentParts(project.folder, models, config_for(settings, project))


def config_for(settings: runs.RecordedSettings, project: Project) -> AgentConfig:
    """The project's configuration with these settings."""
    return replace(
        project.config,
        welcome=settings.welcome,
        welcome_back=settings.welcome_back,
        language=settings.language,
        turn_timeout=settings.turn_timeout,
        max_tool_steps=settings.max_tool_steps,
        today=lambda: settings.today,
        reload_tools=False,
    )


async def _drive(run: runs.RunFile, wire: Wire, tools: RecordedTools | None, progress: Progress) -> list[Heard]:
    """Send every request at its time, whether the one before has been answered or not. With real tools: as soon as
    the one before is over, unless it never was."""
    talking: list[asyncio.Task[Heard]] = []
    for before, turn in zip([*run.turns[:1], *run.turns], run.turns, strict=False):
        if tools or before.superseded:
            await asyncio.sleep(max(0, turn.at - ahead(turn) - before.at + ahead(before)) / 1000)
        else:
            await asyncio.gather(*talking)
        if tools:
            await tools.end_before(turn.webhook["turn_id"])
        talking.append(asyncio.create_task(wire.talk(turn)))
    streams = await asyncio.gather(*talking)
    last = progress.over.get(run.turns[-1].webhook["turn_id"]) if run.turns else None
    await wire.settle(call_ends=last is not None and last.ends_call and not was_cut_off(run.turns[-1]))
    return list(streams)


def _complete(
    run: runs.RunFile,
    came: runs.RunFile,
    seen: dict[str, Turn],
    streams: Sequence[Heard],
    project: Project,
    *,
    recorded_tools: bool,
) -> runs.RunFile:
    """What came, with the inputs of the recording: its chunks and results are not what is compared."""
    turns = {turn.webhook["turn_id"]: turn for turn in came.turns}
    shown: list[dict[str, Any]] = []
    made = []
    for then, stream in zip(run.turns, streams, strict=True):
        now = turns.get(then.webhook["turn_id"])
        turn = then.model_copy(deep=True)
        turn.sent = now.sent if now and run.platform else stream.sent  # not every platform carries everything
        turn.frames = stream.frames if run.platform else []
        calls = seen[then.webhook["turn_id"]].model_calls if then.webhook["turn_id"] in seen else []
        turn.models = []
        for number, call in enumerate(calls):
            base = then.models[number] if number < len(then.models) else runs.RecordedModelCall(ended=call.ended)
            now_shown = compact(call.messages)
            same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(shown, now_shown, strict=False)))
            update = {"same": same, "then": now_shown[same:], "tools": list(call.tools)}
            turn.models.append(base.model_copy(update=update))
            shown = now_shown
        inputs = {call.key: call for call in then.tools} if recorded_tools else {}
        turn.tools = [_with_inputs(call, inputs.get(call.key)) for call in (now.tools if now else [])]
        made.append(turn)
    return runs.RunFile(
        platform=run.platform,
        settings=run.settings,
        prompt=project.config.prompt.splitlines(),
        offered=offered(project.folder, run),
        turns=made,
    )


def _with_inputs(now: runs.RecordedToolCall, then: runs.RecordedToolCall | None) -> runs.RecordedToolCall:
    return then.model_copy(update={"name": now.name, "arguments": now.arguments}) if then else now


def offered(folder: ToolFolder, run: runs.RunFile) -> dict[str, Any]:
    """The tools as the model sees them on the run's platform, in the order they are offered."""
    abilities = {ability for turn in run.turns for ability in turn.webhook.get("abilities", ())}
    return {name: _as_offered(tool) for name, tool in tools_for(folder.tools, abilities).items()}


def _as_offered(tool: Any) -> dict[str, Any]:
    mcp = (tool.metadata or {}).get("mcp")
    return {"description": tool.description, "arguments": tool.args, **({"mcp": mcp} if mcp else {})}
