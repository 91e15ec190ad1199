"""Any `*.yaml` in `scenarios/` is a test by being there. Those that need a live model are skipped unless `--live`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.replay import settings_in_force
from api.settings import Settings
from api.simulate import Result, ScenarioError, load_scenario, outcome, simulate
from tests.support.run_files import project


class Failed(Exception):
    """A scenario's conversation did not hold what it should."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.faults[0])
        self.result = result


class ScenarioFile(pytest.File):
    def collect(self) -> Iterator[pytest.Item]:
        yield ScenarioTest.from_parent(self, name=self.path.stem)


class ScenarioTest(pytest.Item):
    def runtest(self) -> None:
        scenario = load_scenario(self.path)
        if scenario.needs_model:
            pytest.skip("needs a live model")
        settings = settings_in_force(Settings.model_construct(), project().config)
        result = simulate(self.name, scenario, project(), settings, folder=self.path.parent)
        if not result.passed:
            raise Failed(result)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any) -> Any:
        if isinstance(excinfo.value, Failed):
            return outcome(self.path, excinfo.value.result)
        if isinstance(excinfo.value, ScenarioError):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, f"the scenario {self.name}"


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix in (".yaml", ".yml") and file_path.parent.name == "scenarios":
        return ScenarioFile.from_parent(parent, path=file_path)
    return None
