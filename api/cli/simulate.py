"""`voice simulate`: what it prints, and its exit status."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import typer

from agent.replay import save_run
from api.cli.replay import project_of
from api.replay import Project, secrets_of, settings_in_force
from api.settings import NotConfigured, Settings
from api.simulate import Row, ScenarioError, load_scenario, report, simulate, to_json, to_junit

SCENARIOS = Path("scenarios")
KEPT = Path("tests/runs")
FAILED = Path(".simulated")


@dataclass(frozen=True)
class Options:
    keep: bool = False
    junit: Path | None = None
    json: Path | None = None


def simulate_files(paths: Sequence[Path], options: Options, settings: Settings) -> int:
    """Hold each. The exit status: 0 when all pass, 1 when one does not, 2 when a file is broken, 130 when broken
    off."""
    files = _files(paths)
    project, rows = project_of(settings), []
    try:
        for path in files:
            row = _kept(_row(path, project, settings), options)
            typer.echo(f"{row.status:<8} {path}", err=True)
            rows.append(row)
    except KeyboardInterrupt:
        rows += [Row(path, "not run") for path in files[len(rows) :]]
    typer.echo(report(rows))
    for file, text in ((options.junit, to_junit), (options.json, to_json)):
        if file:
            file.write_text(text(rows), encoding="utf-8")
    return max((_EXITS[row.status] for row in rows), default=0)


_EXITS = {"passed": 0, "skipped": 0, "failed": 1, "broken": 2, "not run": 130}


def _files(paths: Sequence[Path]) -> list[Path]:
    found = [
        file for path in paths or [SCENARIOS] for file in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])
    ]
    if not found:
        raise NotConfigured(f"There is no scenario in {' '.join(map(str, paths)) or SCENARIOS}/: see docs/simulate.md.")
    return found


def _row(path: Path, project: Project, settings: Settings) -> Row:
    began = time.monotonic()
    try:
        scenario = load_scenario(path)
        if scenario.needs_model:
            return Row(path, "skipped", why="needs a model")
        in_force, secrets = settings_in_force(settings, project.config), secrets_of(settings)
        result = simulate(path.stem, scenario, project, in_force, folder=path.parent, secrets=secrets)
    except ScenarioError as error:
        return Row(path, "broken", why=str(error))
    return Row(path, "passed" if result.passed else "failed", result, seconds=time.monotonic() - began)


def _kept(row: Row, options: Options) -> Row:
    if row.result is None or row.result.run is None:
        return row
    file = (KEPT if options.keep else FAILED) / f"{row.path.stem}.json"
    save_run(row.result.run, file)
    return replace(row, saved=file)
