"""Any `*.json` in `tests/runs/` is a test by being there: a recorded conversation that must replay as it was."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.replay import Difference, differences, report
from agent.replay.run_file import RunFileError, load_run
from api.cli.replay import project_of
from api.replay import Project, replay
from api.settings import Settings

ROOT = Path(__file__).parents[2]


def check(path: Path, against: Project) -> list[Difference]:
    """Replay a file and compare. RunFileError when it cannot be read."""
    run = load_run(path)
    return differences(run, replay(run, against).run)


class Differs(Exception):
    def __init__(self, differences: list[Difference]) -> None:
        super().__init__(str(differences[0]))
        self.differences = differences


class RunFileTests(pytest.File):
    def collect(self) -> Iterator[pytest.Item]:
        yield RunFileTest.from_parent(self, name=self.path.stem)


class RunFileTest(pytest.Item):
    def runtest(self) -> None:
        found = check(self.path, project())
        if found:
            raise Differs(found)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any) -> Any:
        if isinstance(excinfo.value, Differs):
            return f"{report(excinfo.value.differences)}\n\nIf this is meant: voice replay --update {self.path}"
        if isinstance(excinfo.value, RunFileError):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, f"the recorded conversation {self.name}"


@functools.cache
def project() -> Project:
    """The tools and the prompt of this checkout, whatever the environment says."""
    return project_of(Settings.model_construct(tools_dir=ROOT / "tools", system_prompt_file=None, welcome_message=""))


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix == ".json" and file_path.parent.name == "runs":
        return RunFileTests.from_parent(parent, path=file_path)
    return None
