"""`voice scenario`: a scenario from a recorded conversation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from agent.replay.run_file import load_run
from api.cli.main import app
from api.settings import Settings
from api.simulate import Setup, draft, read_scenario, run_file_of
from api.simulate.steps import Say, Words
from tests.conftest import TOOLS
from tests.simulate.conftest import SCENARIOS, Hold
from tests.support.gemini import Gemini, calls, text

RUNS = sorted((TOOLS.parent / "tests/runs").glob("*.json"))


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("TOOLS_DIR", str(TOOLS))
    monkeypatch.delenv("TRANSFER_TO", raising=False)


def voice(*words: str) -> Result:
    return CliRunner().invoke(app, ["scenario", *words])


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.stem)
def test_what_is_drafted_from_a_run_passes_as_it_stands(run: Path) -> None:
    result = voice("--from-run", str(run))
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"scenarios/{run.stem}.yaml: passes as it stands.")


@pytest.mark.parametrize("name", sorted(file.stem for file in SCENARIOS.glob("*.yaml")))
def test_a_scenario_comes_back_from_its_conversation(name: str, hold: Hold, setup: Setup) -> None:
    """Held, recorded, drafted from the record, and held again: the same calls of tools, and the same is heard."""
    first = hold(name)
    run = run_file_of(first, setup)
    assert run
    again = hold(draft(run, "Drafted.", ["end_call"]))
    assert again.faults == []
    assert again.conversation.heard == first.conversation.heard
    assert [call[1:] for call in again.conversation.tool_calls] == [call[1:] for call in first.conversation.tool_calls]


def test_an_interruption_is_where_it_was() -> None:
    scenario = read_scenario(draft(load_run(RUNS[0].with_name("barge-in.json")), "Drafted."), Path("x.yaml"))
    first, second = scenario.caller
    assert isinstance(first, Say)
    assert first.interrupt_after == Words(8)
    assert isinstance(second, Say)
    assert second.interrupt_after is None


def test_a_scenario_that_is_there_stays() -> None:
    Path("scenarios").mkdir()
    Path("scenarios/weather.yaml").write_text("mine")
    result = voice("--from-run", str(RUNS[-1]))
    assert result.exit_code == 2
    assert result.stderr == "scenarios/weather.yaml is there already: choose another with --out, or delete it.\n"
    assert Path("scenarios/weather.yaml").read_text() == "mine"


@pytest.mark.parametrize("words", [[], ["--from-run", "a.json", "--conversation", "c"]])
def test_it_takes_one_of_two(words: list[str]) -> None:
    result = voice(*words)
    assert result.exit_code == 2
    assert result.stderr == "voice scenario takes one of --from-run FILE and --conversation ID.\n"


async def test_one_from_a_real_call_has_no_number_and_no_secret(
    start: Callable[..., Any], gemini: Gemini, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "test-key-0123456789"
    gemini.script(calls(("clock", {"place": "Tokyo"})), text("It is late in Tokyo. Your number is +1 415 555 0123."))
    backend = await start(google_api_key=secret)
    await backend.caller("c/1").say(f"The time in Tokyo? My key is {secret}.", from_phone_number="+14155550123")
    monkeypatch.setenv("GOOGLE_API_KEY", secret)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/voice.db")
    result = await asyncio.to_thread(voice, "--conversation", "c/1")
    assert result.exit_code == 0, result.output
    written = Path("scenarios/c-1.yaml").read_text()
    assert "clock" in written
    assert "+00000000000" in written
    assert "My key is xxxxxxxxxxxxxxxxxxx." in written
    for private in (secret, "4155550123", "415 555 0123"):
        assert private not in written
    missing = await asyncio.to_thread(voice, "--conversation", "nobody")
    assert missing.exit_code == 2
    assert missing.stderr == "The database has no finished turn of a conversation 'nobody'.\n"
