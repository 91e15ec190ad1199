"""`voice simulate`: the table, the exit status, the files for CI, what is saved, and what breaks it off."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from agent.replay.run_file import load_run
from api.cli.main import app
from api.cli.simulate import setup_of
from api.settings import Settings
from tests.conftest import TOOLS
from tests.simulate.conftest import SCENARIOS
from tests.support.backend import process
from tests.support.gemini import Gemini, calls, text

PASSES = "caller: [Hi]\nmodel: [Hello there.]\n"
FAILS = "caller: [Hi]\nmodel: [Hello there.]\nexpect:\n  heard: [good evening]\n"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("TOOLS_DIR", str(TOOLS))
    (tmp_path / "scenarios").mkdir()


def test_what_is_held_has_the_settings_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFAULT_LANGUAGE", "de")
    monkeypatch.setenv("WELCOME_MESSAGE", "Hallo.")
    config = setup_of(Settings.load()).project.config
    assert (config.language, config.welcome) == ("de", "Hallo.")
    assert config.welcome_back


def test_two_scenarios_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "hi.yaml").write_text("caller: [Hi]\nmodel: [Hello.]\n")
    result = CliRunner().invoke(app, ["simulate", str(tmp_path / "one"), str(tmp_path / "other")])
    assert (result.exit_code, result.stderr) == (
        2, "Two scenarios are called hi: rename one, as reports and run files go by the name.\n",
    )  # fmt: skip


def write(name: str, text: str) -> Path:
    path = Path("scenarios") / f"{name}.yaml"
    path.write_text(text)
    return path


def voice(*words: str) -> Result:
    return CliRunner().invoke(app, ["simulate", *words])


def test_all_of_the_folder_is_held_and_told_in_a_table() -> None:
    write("good", PASSES)
    write("bad", FAILS)
    result = voice()
    assert result.exit_code == 1, result.output
    assert result.stdout.startswith('scenarios/bad.yaml: The caller did not hear "good evening".\n')
    assert "1.2 s  agent   Hello there.\n" in result.stdout
    assert "    voice replay .simulated/bad.json\n" in result.stdout
    *_, bad, good, told = result.stdout.splitlines()
    assert bad.split()[:2] == ["bad", "failed"]
    assert good.split()[:2] == ["good", "passed"]
    assert told.startswith("1 failed, 1 passed in ")
    assert result.stderr.splitlines() == ["1/2 bad: failed", "2/2 good: passed"]


def test_several_processes_give_the_same() -> None:
    for number in range(4):
        write(f"good-{number}", PASSES)
    write("bad", FAILS)

    def table(*words: str) -> list[str]:
        return voice(*words).stdout.splitlines()[:-1]

    assert table("--parallel", "3") == table("--parallel", "1")


def test_all_pass() -> None:
    write("good", PASSES)
    assert voice("scenarios/good.yaml").exit_code == 0


def test_a_broken_file_is_told_and_the_others_are_held() -> None:
    write("broken", "caller: [Hi]\nmodle: [Hello]\n")
    write("good", PASSES)
    result = voice()
    assert result.exit_code == 2
    assert result.stdout.startswith("scenarios/broken.yaml:2: there is no field `modle` here: is `model` meant?\n")
    assert result.stdout.splitlines()[-1].startswith("1 broken, 1 passed")


def test_what_needs_a_live_model_is_skipped_and_counted() -> None:
    write("live", "caller: [Hi]\n")
    write("persona", "persona: {goal: A table for four}\n")
    result = voice()
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].startswith("2 skipped in ")


def test_an_empty_folder_is_told() -> None:
    result = voice()
    assert result.exit_code == 2
    assert result.stderr == "There is no scenario in scenarios: see docs/simulate.md.\n"


def test_the_files_for_ci() -> None:
    write("bad", FAILS)
    write("good", PASSES)
    write("live", "caller: [Hi]\n")
    voice("--junit", "junit.xml", "--json", "out.json")
    suite = ElementTree.parse("junit.xml").getroot()
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "3", "failures": "1", "errors": "0", "skipped": "1"
    }  # fmt: skip
    failures = {str(case.get("name")): [child.get("message") for child in case] for case in suite.iter("testcase")}
    assert failures == {
        "bad": ['The caller did not hear "good evening".'], "good": [], "live": ["needs a live model"]
    }  # fmt: skip
    bad, good, live = json.loads(Path("out.json").read_text())["scenarios"]
    assert (bad["status"], good["status"], live["status"]) == ("failed", "passed", "skipped")
    assert bad["faults"] == ['The caller did not hear "good evening".']
    assert bad["run_file"] == ".simulated/bad.json"
    assert (good["turns"], good["tools"], good["first_words"]) == (1, 0, 0.4)


def test_what_fails_is_kept_as_a_run_file_that_replays_without_a_model() -> None:
    write("bad", (SCENARIOS / "weather.yaml").read_text().replace("not_heard: [eighteen", "heard: [eighteen"))
    result = voice("--keep")
    assert result.exit_code == 1
    run = load_run(Path("tests/runs/bad.json"))
    assert [turn.webhook.get("text") for turn in run.turns[1:]] == [
        "What's the weather in Paris?", "No, sorry, in Lyon.", "And tomorrow?"
    ]  # fmt: skip
    replayed = CliRunner().invoke(app, ["replay", "tests/runs/bad.json"])
    assert replayed.stdout == "tests/runs/bad.json: ok\n"


# What never ends


def test_a_call_that_never_ends_is_ended() -> None:
    write("endless", "caller:\n- silence: 700s\nmodel: []\n")
    assert "endless.yaml: The call was not over after 600 s, which at_most: allows.\n" in voice().stdout


def test_a_tool_that_holds_everything_up_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.simulate.simulation._LONGEST", 1.0)
    Path("tools").mkdir()
    Path("tools/stuck.py").write_text(
        "from agent import voice_tool\n\n@voice_tool\ndef stuck() -> str:\n"
        '    """Never comes back."""\n    while True: pass\n'
    )
    monkeypatch.setenv("TOOLS_DIR", "tools")
    write("a-stuck", "caller: [Hi]\nworld:\n  tools:\n    stuck: {real: true}\nmodel: [{call: {stuck: {}}}, Hm.]\n")
    write("b-good", PASSES)
    began = time.monotonic()
    result = voice()
    assert time.monotonic() - began < 30
    assert "a-stuck.yaml: The call was not over after 1 s of real time: something in it goes on without end." in (
        result.stdout
    )
    assert result.stdout.splitlines()[-1].startswith("1 failed, 1 passed")


def test_ctrl_c_keeps_what_is_over() -> None:
    """A process of its own, which is interrupted in its second scenario."""
    write("a-good", PASSES)
    Path("tools").mkdir()
    Path("tools/slow.py").write_text(
        "import time\nfrom agent import voice_tool\n\n@voice_tool\ndef slow() -> str:\n"
        '    """Takes long."""\n    time.sleep(15)\n    return ""\n'
    )
    write("b-slow", "caller: [Hi]\nworld:\n  tools:\n    slow: {real: true}\nmodel: [{call: {slow: {}}}, Hm.]\n")
    write("c-good", PASSES)
    with process(["simulate", "--json", "out.json"], TOOLS_DIR="tools") as running:
        while "a-good: passed" not in running.printed():
            assert running.poll() is None
            time.sleep(0.02)
        time.sleep(1)
        os.kill(running.pid, signal.SIGINT)
        said, _ = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "Broken off. What is over by now is below." in said
    assert "1 passed, 2 not run in " in said
    statuses = [one["status"] for one in json.loads(Path("out.json").read_text())["scenarios"]]
    assert statuses == ["passed", "not run", "not run"]


# A live model


def test_the_configured_model_is_asked_with_live(gemini: Gemini, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real client, over a real socket; the pauses of the caller take no time."""
    monkeypatch.setenv("GOOGLE_GENERATIVE_AI_API_KEY", "test-key")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", gemini.url)
    gemini.script(calls(("weather", {"city": "Rome"})), text("It is sunny in Rome."), text("Goodbye."))
    write(
        "live",
        "caller:\n- How is the weather in Rome\n- silence: 90s\n- Bye\nmodel: [No.]\n"
        "world:\n  tools:\n    weather: Sunny.\n"
        "expect:\n  heard: [sunny in Rome, Goodbye]\n  calls:\n  - {tool: weather, arguments: {city: Rome}}\n",
    )
    began = time.monotonic()
    result = voice("--live")
    assert result.exit_code == 0, result.output
    assert time.monotonic() - began < 30


def test_a_model_that_is_down_is_told(gemini: Gemini, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_GENERATIVE_AI_API_KEY", "test-key")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "http://127.0.0.1:9")
    write("live", PASSES)
    result = voice("--live")
    assert result.exit_code == 1
    assert "live.yaml: Turn 1: the caller heard the apology in place of an answer" in result.stdout
