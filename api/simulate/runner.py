"""Holding many scenarios: one after the other, or in several processes."""

from __future__ import annotations

import logging
import multiprocessing
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from agent.failures import logged
from agent.replay import run_file as runs
from agent.replay import save_run
from api.settings import NotConfigured
from api.simulate.row import Row
from api.simulate.scenario_file import ScenarioError, load_scenario
from api.simulate.simulation import Setup, run_file_of, simulate

log = logging.getLogger(__name__)

_NO_NAME = re.compile(r"[^\w.-]+")  # what may not stand in the name of a file


@dataclass(frozen=True)
class Held:
    """How scenarios are held. prepare: makes their setup, in each process once. keep: the folder for the run files of
    conversations that have not passed. runs: how often each. setting: the name of what they are held with."""

    prepare: Callable[[], Setup]
    keep: Path
    runs: int = 1
    setting: str = ""

    def one(self, path: Path, setup: Setup, number: int = 1) -> Row:
        began, row = time.monotonic(), Row(path, "broken", why=f"{path} could not be held: see the log.")
        with logged(log, f"{path} could not be held"):
            try:
                row = self._row(path, setup, number)
            except (ScenarioError, runs.RunFileError) as error:
                row = Row(path, "broken", why=str(error))
            except NotConfigured as error:
                row = Row(path, "broken", why=f"{path}: {error}")
        return replace(row, seconds=time.monotonic() - began, number=number, setting=self.setting)

    def _row(self, path: Path, setup: Setup, number: int) -> Row:
        scenario = load_scenario(path, setup.project.folder.tools)
        if scenario.needs_model and setup.live is None:
            return Row(path, "skipped", why="needs a live model")
        result = simulate(path.stem, scenario, setup, folder=path.parent)
        if result.passed:
            return Row(path, "passed", result)
        named = Row(path, "failed", number=number, setting=self.setting).name
        file = self.keep / (_NO_NAME.sub("-", named) + ".json")
        if run := run_file_of(result, setup):
            save_run(run, file)
        return Row(path, "failed", result, saved=file if run else None)


def hold_all(paths: Sequence[Path], held: Held, processes: int) -> Iterator[Row]:
    """Each run as it is over. Ctrl-C ends those that run at once, and begins no others."""
    jobs = [(path, number) for path in paths for number in range(1, held.runs + 1)]
    if processes == 1 or len(jobs) == 1:
        setup = held.prepare()
        yield from (held.one(path, setup, number) for path, number in jobs)
        return
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(min(processes, len(jobs)), context, _begin, (held,)) as pool:
        try:
            for done in as_completed([pool.submit(_hold, *job) for job in jobs]):
                yield done.result()
        except (KeyboardInterrupt, GeneratorExit):
            for process in multiprocessing.active_children():  # those of the pool: there are no others
                process.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


_of_process: list[tuple[Held, Setup]] = []


def _begin(held: Held) -> None:
    """In a process of its own. Ctrl-C is for the first one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _of_process.append((held, held.prepare()))


def _hold(path: Path, number: int) -> Row:
    held, setup = _of_process[0]
    return held.one(path, setup, number)
