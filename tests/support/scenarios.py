"""Any `*.yaml` in `scenarios/` is a test by being there. What needs a live model is skipped unless `--live`: scenarios,
and tests that are marked `live`."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.cli.simulate import setup_of
from api.settings import Settings
from api.simulate import Held, Row, Setup, failure
from tests.support.run_files import ROOT


class NotPassed(Exception):
    """A scenario's file is broken, or its conversation did not hold what it should."""

    def __init__(self, row: Row) -> None:
        super().__init__(row.faults[0])
        self.row = row


class ScenarioFile(pytest.File):
    def collect(self) -> Iterator[pytest.Item]:
        yield ScenarioTest.from_parent(self, name=self.path.stem)


class ScenarioTest(pytest.Item):
    def runtest(self) -> None:
        live = self.config.getoption("--live")
        prepare = functools.partial(_setup, live)
        row = Held(prepare, ROOT / ".simulated").one(self.path, prepare())
        if row.status == "skipped":
            pytest.skip(row.why)
        if row.status != "passed":
            raise NotPassed(row)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any) -> Any:
        return failure(excinfo.value.row) if isinstance(excinfo.value, NotPassed) else super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, f"the scenario {self.name}"


@functools.cache
def _setup(live: bool) -> Setup:
    """The tools and the prompt of this checkout, whatever the environment says; but for the live model."""
    settings = Settings.load() if live else Settings.model_construct()
    checkout = {"tools_dir": ROOT / "tools", "system_prompt_file": None, "welcome_message": ""}
    return setup_of(settings.model_copy(update=checkout), live=live)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--live", action="store_true", help="Ask the configured model.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items if not config.getoption("--live") else ():
        if item.get_closest_marker("live"):
            item.add_marker(pytest.mark.skip(reason="needs a live model"))


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix in (".yaml", ".yml") and file_path.parent.name == "scenarios":
        return ScenarioFile.from_parent(parent, path=file_path)
    return None
