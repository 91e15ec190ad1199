"""`voice simulate`: what it prints, and its exit status."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from api.cli.printing import echo
from api.cli.replay import project_of
from api.replay import settings_in_force
from api.settings import NotConfigured, Settings, collected
from api.simulate import (
    Held,
    ModelJudge,
    Row,
    Setup,
    check_judge,
    hold_all,
    pairs,
    report,
    to_html,
    to_json,
    to_junit,
)
from api.wiring import load_judge, load_models, load_simulator

SCENARIOS = Path("scenarios")
KEPT = Path("tests/runs")
FAILED = Path(".simulated")
_MANY = 10  # scenarios for which it pays to start processes

_EXITS = {"passed": 0, "skipped": 0, "failed": 1, "broken": 2, "not run": 130}


@dataclass(frozen=True)
class Options:
    """parallel: processes; None: as many as pay. runs: how often each scenario is held. prompt, model: to be compared
    with the settings in force."""

    keep: bool = False
    live: bool = False
    parallel: int | None = None
    junit: Path | None = None
    json: Path | None = None
    runs: int = 1
    prompt: Path | None = None
    model: str | None = None
    html: Path | None = None


def simulate_files(paths: Sequence[Path], options: Options, settings: Settings) -> int:
    """Hold each. The exit status: 0 when all pass, 1 when one does not, 2 when a file is broken, 130 when it was
    broken off."""
    files, variants = _files(paths), _variants(options, settings)
    for each in variants.values():
        setup_of(each, live=options.live, around=settings)  # what is wrong is told before the first call
    outputs = {
        file: text
        for file, text in ((options.junit, to_junit), (options.json, to_json), (options.html, to_html))
        if file
    }
    for file in outputs:
        _write(file, "")  # what cannot be written is told before the first call too
    rows: dict[tuple[str, Path, int], Row] = {}
    every = [(name, path, number) for name in variants for path in files for number in range(1, options.runs + 1)]
    try:
        for name, each in variants.items():
            for row in _hold_all(files, options, name, partial(setup_of, each, live=options.live, around=settings)):
                rows[name, row.path, row.number] = row
                echo(f"{len(rows)}/{len(every)} {row.name}: {row.status}", err=True)
    except KeyboardInterrupt:
        echo("Broken off. What is over by now is below.", err=True)
    except BrokenProcessPool:
        echo("A process that held scenarios has died. What was over by then is below.", err=True)
    in_order = [rows.get(one, Row(one[1], "not run", setting=one[0], number=one[2])) for one in every]
    echo(report(in_order))
    problems: list[str] = []
    for file, text in outputs.items():
        with collected(problems):
            _write(file, text(in_order))
    if problems:
        raise NotConfigured(*problems)
    return max(_EXITS[row.status] for row in in_order)


def _variants(options: Options, settings: Settings) -> dict[str, Settings]:
    """The settings in force, and those to compare with them, by name."""
    wished = {"system_prompt_file": options.prompt, "model": options.model}
    other = {name: value for name, value in wished.items() if value is not None}
    if not other:
        return {"": settings}
    if not options.live:
        raise NotConfigured("--prompt and --model compare what a model says: add --live, and --runs 20.")
    name = ", ".join(value.name if isinstance(value, Path) else value for value in other.values())
    return {"as set": settings, f"with {name}": settings.model_copy(update=other)}


def _hold_all(files: Sequence[Path], options: Options, name: str, prepare: Callable[[], Setup]) -> Iterator[Row]:
    held = Held(prepare, KEPT if options.keep else FAILED, options.runs, name)
    many = len(files) * options.runs > _MANY
    return hold_all(files, held, options.parallel or (os.cpu_count() or 1 if many else 1))


def run_judge_check(settings: Settings) -> int:
    """Whether the configured judge can be believed. The exit status: 0 when it is right about all calls, else 1."""
    model, every = load_judge(settings), pairs()
    found = asyncio.run(model.closed_after(check_judge(ModelJudge(model), every)))
    echo(found.report())
    return 0 if found.passed else 1


def setup_of(settings: Settings, *, live: bool = False, around: Settings | None = None) -> Setup:
    """Today's tools, prompt and settings. NotConfigured when they cannot be used. around: those of the judge and of the
    caller's model, if they are others: settings are compared with these left alone."""
    around = around or settings
    project = project_of(settings)
    known = settings_in_force(settings, project.config), settings.all_secrets()
    if not live:
        return Setup(project, *known)
    load_models(settings)  # what is wrong with the model is told once, and now
    return Setup(
        project, *known, partial(load_models, settings), partial(_judge, around), partial(load_simulator, around)
    )


def _judge(settings: Settings) -> ModelJudge:
    return ModelJudge(load_judge(settings), FAILED / "verdicts")


def _files(paths: Sequence[Path]) -> list[Path]:
    found = [
        file for path in paths or [SCENARIOS] for file in (sorted(path.glob("*.y*ml")) if path.is_dir() else [path])
    ]
    if not found:
        raise NotConfigured(f"There is no scenario in {' '.join(map(str, paths)) or SCENARIOS}: see docs/simulate.md.")
    files = list(dict.fromkeys(found))
    if twice := next((name for name, count in Counter(file.stem for file in files).items() if count > 1), None):
        raise NotConfigured(f"Two scenarios are called {twice}: rename one, as reports and run files go by the name.")
    return files


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise NotConfigured(f"{file} cannot be written: {error.strerror}.") from None
