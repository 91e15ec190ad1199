"""Calls with scripted callers, through the real application."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.cli.replay import project_of
from api.replay import Project, settings_in_force
from api.settings import Settings
from api.simulate import Result, read_scenario, simulate
from tests.conftest import TOOLS

FILE = Path("scenarios/test.yaml")


@pytest.fixture(scope="module")
def project() -> Project:
    return project_of(Settings.model_construct(tools_dir=TOOLS, system_prompt_file=None, welcome_message=""))


def held(project: Project, text: str) -> Result:
    settings = settings_in_force(Settings.model_construct(), project.config)
    return simulate("test", read_scenario(text, FILE), project, settings, folder=FILE.parent)


def test_a_caller_who_interrupts_has_heard_so_many_words_and_the_model_is_told_so(project: Project) -> None:
    result = held(
        project,
        """
caller:
- {say: Count to ten, interrupt_after: 4 words}
- Stop
model:
- One two three four five six seven eight nine ten.
- All right.
""",
    )
    assert result.faults == []
    assert [exchange.heard for exchange in result.conversation.exchanges] == ["", "One two three four", "All right."]


def test_the_unexpected_is_told(project: Project) -> None:
    result = held(project, "caller: [The weather in Rome, And now]\nmodel: [{call: {weather: {city: Rome}}}, Sorry.]")
    assert result.faults[:2] == [
        "The scenario does not say what weather(city='Rome') returns: write it under world: tools:.",
        "The model was asked for more answers than the scenario has under model:.",
    ]
