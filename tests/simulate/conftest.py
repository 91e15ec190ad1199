from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from api.cli.simulate import setup_of
from api.settings import Settings
from api.simulate import Result, Setup, load_scenario, read_scenario, simulate
from tests.conftest import TOOLS
from tests.support.gemini import Gemini

SCENARIOS = TOOLS.parent / "scenarios"
Hold = Callable[[str], Result]


@pytest.fixture(scope="session")
def setup() -> Setup:
    """The tools and the prompt of this checkout."""
    return setup_of(Settings.model_construct(tools_dir=TOOLS, system_prompt_file=None, welcome_message=""))


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch, gemini: Gemini) -> None:
    """The command finds this checkout's tools, the scripted Gemini, and an empty folder of scenarios."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("TOOLS_DIR", str(TOOLS))
    monkeypatch.setenv("GOOGLE_GENERATIVE_AI_API_KEY", "test-key")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", gemini.url)
    Path("scenarios").mkdir()


@pytest.fixture
def hold(setup: Setup) -> Hold:
    """Hold a scenario: the text of one, or the name of one that comes with this project."""

    def hold(text: str) -> Result:
        file = SCENARIOS / f"{text}.yaml"
        scenario = read_scenario(text, Path("test.yaml")) if "\n" in text else load_scenario(file)
        return simulate("test" if "\n" in text else text, scenario, setup, folder=SCENARIOS)

    return hold
