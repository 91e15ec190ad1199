"""`voice forget`: a conversation, or a person by their phone number."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import typer

from agent.storage import Storage, conversations_of, counted, erase, is_known
from agent.tooling import ToolFolder
from agent.turns import e164
from api.cli.printing import echo
from api.operations import delete_run_file
from api.settings import NotConfigured, Settings
from api.wiring import load_tools, open_database


async def forget(target: str, settings: Settings, *, yes: bool) -> int:
    """Delete what `target` names. The exit status: 0 when something was, 1 when there was nothing."""
    folder = load_tools(settings)
    async with open_database(settings) as storage:
        conversations, caller = await _meant(storage, target)
        if not conversations and not caller:
            return _unknown(target)
        if not yes:
            typer.confirm(_question(target, conversations, caller), abort=True)
        forgotten = await _ask_tools(folder, storage, conversations, caller)
        for conversation in conversations:
            forgotten += await erase(storage, conversation) + Counter(conversations=1)
            forgotten["run files"] += delete_run_file(settings.record_runs, conversation)
        if not any(forgotten.values()):
            return _unknown(target)
        echo(f"Forgotten: {counted(+forgotten)}.")
        if not await storage.wipe():
            echo("The database is in use: its write-ahead log (-wal) still has copies until the server restarts.")
    return 0


async def _meant(storage: Storage, target: str) -> tuple[Sequence[str], str | None]:
    """The conversations, and the phone number if it is one, or what else the platform has sent as one."""
    if await is_known(storage, target):
        return [target], None
    caller = e164(re.sub("^00", "+", target)) or target
    conversations = await conversations_of(storage, caller)
    return conversations, caller if conversations or caller.startswith("+") else None


def _question(target: str, conversations: Sequence[str], caller: str | None) -> str:
    if caller is None:
        return f"Delete the conversation {target} for good?"
    return f"Delete {len(conversations)} conversations of {caller} for good, and what the tools keep about this number?"


async def _ask_tools(
    folder: ToolFolder, storage: Storage, conversations: Sequence[str], caller: str | None
) -> Counter[str]:
    """First, as the conversations are how to find the rest: when a tool fails, all can be done again."""
    forgotten: Counter[str] = Counter()
    for path, forget_in in folder.forgets.items():
        try:
            forgotten[f"in {path.name}"] = int(await forget_in(storage.database, conversations, caller) or 0)
        except Exception as error:
            raise NotConfigured(
                f"{path}: forget failed with {type(error).__name__}: {error}. No conversation was deleted: mend it,"
                " and forget again."
            ) from error
    return forgotten


def _unknown(target: str) -> int:
    echo(f"The database knows no conversation and no phone number {target!r}.", fg="red", err=True)
    return 1
