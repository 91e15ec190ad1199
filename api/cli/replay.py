"""`voice replay` and `voice record`: what they print, and their exit status."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.replay import Difference, differences, export_run, report
from agent.replay import run_file as runs
from agent.storage import Database
from api.cli.printing import echo
from api.replay import Comparison, Project, ask_again, barge_in_everywhere, record, replay, replay_with_tools
from api.settings import NotConfigured, Settings
from api.wiring import load_config, load_models, load_prompt, load_servers, load_tools, open_database, open_servers


@dataclass(frozen=True)
class Options:
    update: bool = False
    from_turn: int = 1
    barge_in: bool = False
    live_tools: bool = False
    live_model: bool = False


def project_of(settings: Settings) -> Project:
    """Today's tools and prompt. NotConfigured when they cannot be read. MCP servers are not asked."""
    return Project(load_tools(settings), load_config(settings, load_prompt(settings)))


def replay_files(paths: Sequence[Path], options: Options, settings: Settings) -> int:
    """Replay each. The exit status: 0 when all agree, 1 when one does not, 2 when one cannot be read."""
    project, status = project_of(settings), 0
    for path in paths:
        try:
            status = max(status, _replay_file(path, runs.load_run(path), options, project, settings))
        except runs.RunFileError as error:
            echo(str(error), fg="red", err=True)
            status = 2
    return status


def _replay_file(path: Path, run: runs.RunFile, options: Options, project: Project, settings: Settings) -> int:
    if options.from_turn > len(run.turns):
        raise runs.RunFileError(f"{path} has no turn {options.from_turn}: it has {len(run.turns)}.")
    if options.live_model:
        return _live_model(path, run, project, settings)
    if options.barge_in:
        return _barge_in(path, run, project)
    if options.live_tools:
        came = replay_with_tools(run, project, load_servers(settings)).run
        return _report(path, _of_results(run, came))
    came = replay(run, project).run
    found = differences(run, came, from_turn=options.from_turn)
    return _update(path, came, found) if options.update else _report(path, found)


def _update(path: Path, came: runs.RunFile, found: Sequence[Difference]) -> int:
    if any(difference.unrecorded for difference in found):
        echo(f"{path}: not updated, as the recording has no answer to what happens now: record it anew.")
        return _report(path, found)
    runs.save_run(came, path)
    echo(f"{path}: updated")
    return 0


def _report(path: Path, found: Sequence[Difference]) -> int:
    echo(f"{path}: {report(found) or 'ok'}")
    return 1 if found else 0


def _barge_in(path: Path, run: runs.RunFile, project: Project) -> int:
    places = status = 0
    for label, faults in barge_in_everywhere(run, project):
        places += 1
        for fault in faults:
            status = 1
            echo(f"{path}: {label}: {fault}")
    echo(f"{path}: interrupted at {places} places: {'faults' if status else 'all hold'}")
    return status


def _of_results(then: runs.RunFile, now: runs.RunFile) -> list[Difference]:
    """What the tools themselves did otherwise."""
    found = []
    for number, (old, new) in enumerate(zip(then.turns, now.turns, strict=True), 1):
        came = {call.key: call for call in new.tools}
        for call in old.tools:
            other = came.get(call.key)
            if other is None:
                found.append(Difference(f"Turn {number}: the tool {call.name} was not called."))
            elif (other.ended, other.result) != (call.ended, call.result):
                diff = [f"- {call.ended}: {call.result}", f"+ {other.ended}: {other.result}"]
                found.append(Difference(f"Turn {number}: the tool {call.name} has another result.", diff))
    return found


def _live_model(path: Path, run: runs.RunFile, project: Project, settings: Settings) -> int:
    compared = asyncio.run(ask_again(run, project, load_models(settings)))
    for turn in compared:
        verdict = ": THE MODEL FAILED" if turn.failed else "" if turn.same else ": OTHER TOOL CALLS"
        echo(f"{path}: turn {turn.number}{verdict}", bold=True)
        _side_by_side(turn)
    return 0 if all(turn.same for turn in compared) else 1


def _side_by_side(turn: Comparison) -> None:
    echo(f"  caller    {turn.caller}")
    for label, (said, calls) in (("recorded", turn.then), ("now", turn.now)):
        for name, arguments in calls:
            echo(f"  {label:<9} [{name}({json.dumps(arguments, ensure_ascii=False)})]")
        echo(f"  {label:<9} {said.strip()}")


async def record_conversation(conversation: str, out: Path, settings: Settings) -> int:
    """Write the run file of a conversation in the database."""
    project = project_of(settings)
    async with open_database(settings) as storage, open_servers(load_servers(settings), project.folder):
        exported = await record(storage.database, conversation, settings, project.config, project.folder)
        try:
            if exported and not await _saved(exported[0], out, storage.database, conversation):
                exported = None
        except runs.RunFileError as error:
            raise NotConfigured(str(error)) from None
    if exported is None:
        echo(f"The database has no finished turn of a conversation {conversation!r}.", fg="red", err=True)
        return 1
    run, changed = exported
    echo(f"{out}: {len(run.turns)} turns")
    if changed:
        numbers = ", ".join(map(str, changed))
        echo(f"Today's code, prompt or tools send something else than was sent then, in turn {numbers}.")
    return 0


async def _saved(run: runs.RunFile, out: Path, database: Database, conversation: str) -> bool:
    """Write the file, and delete it again if the conversation has been forgotten meanwhile: `voice forget` deletes
    the rows first and the file then, so one of the two finds it."""
    await asyncio.to_thread(runs.save_run, run, out)
    left = await export_run(database, conversation)
    if left is None or len(left.turns) < len(run.turns):
        await asyncio.to_thread(out.unlink, missing_ok=True)
        return False
    return True
