"""`voice scenario`: drafts a scenario from a recorded conversation."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from agent.replay import export_run
from agent.replay import run_file as runs
from agent.tooling import options_of
from api.cli.printing import echo
from api.cli.simulate import FAILED, SCENARIOS, setup_of
from api.replay import settings_in_force
from api.settings import NotConfigured, Settings
from api.simulate import Held, Setup, draft, failure
from api.wiring import open_database


def draft_scenario(file: Path | None, conversation: str | None, out: Path | None, settings: Settings) -> int:
    """Write it, and hold it once. The exit status: 0 when it passes as it stands, else 1."""
    if (file is None) == (conversation is None):
        raise NotConfigured("voice scenario takes one of --from-run FILE and --conversation ID.")
    setup = setup_of(settings)
    run = _load(file) if file else asyncio.run(_export(conversation or "", setup, settings))
    name = re.sub(r"[^\w-]+", "-", file.stem if file else conversation or "")
    path = out or SCENARIOS / f"{name}.yaml"
    _write(path, _draft(run, setup, settings))
    row = Held(lambda: setup, FAILED).one(path, setup)
    if row.status == "passed":
        echo(f"{path}: passes as it stands. Read it, and say what matters under expect:.")
        return 0
    echo(f"{failure(row)}\n\n{path}: is written, and has to be completed by hand.")
    return 1


def _load(file: Path) -> runs.RunFile:
    try:
        return runs.load_run(file)
    except runs.RunFileError as error:
        raise NotConfigured(str(error)) from None


async def _export(conversation: str, setup: Setup, settings: Settings) -> runs.RunFile:
    async with open_database(settings) as storage:
        run = await export_run(storage.database, conversation)
    if run is None:
        raise NotConfigured(f"The database has no finished turn of a conversation {conversation!r}.")
    return run.model_copy(update={"settings": settings_in_force(settings, setup.project.config)})


def _draft(run: runs.RunFile, setup: Setup, settings: Settings) -> str:
    """Without phone numbers and secrets."""
    real = [name for name, tool in setup.project.folder.tools.items() if options_of(tool).needs]
    return draft(runs.scrubbed(run, settings.all_secrets()), "Drafted from a recorded conversation.", real)


def _write(path: Path, text: str) -> None:
    """Never over one that somebody may have worked on."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise NotConfigured(f"{path} is there already: choose another with --out, or delete it.") from None
    except OSError as error:
        raise NotConfigured(f"{path} cannot be written: {error.strerror}.") from None
