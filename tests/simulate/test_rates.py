"""Rates over several runs, and two settings side by side. The figures are checked against scipy."""

from __future__ import annotations

import json
import random
from pathlib import Path
from xml.etree import ElementTree

import pytest
from scipy.stats import binomtest, fisher_exact
from typer.testing import CliRunner

from api.cli.main import app
from api.simulate import Rate, Row, chance, report
from tests.support.gemini import Gemini, Json, Step, text

RATES = [Rate(passed, runs) for runs in (1, 2, 7, 20, 133) for passed in {0, 1, runs // 3, runs - 1, runs}]


@pytest.mark.parametrize("rate", RATES, ids=str)
def test_the_interval(rate: Rate) -> None:
    known = binomtest(rate.passed, rate.runs).proportion_ci(0.95, method="wilson")
    assert rate.interval() == pytest.approx((known.low, known.high), abs=1e-9)


@pytest.mark.parametrize("one", RATES, ids=str)
def test_whether_two_differ(one: Rate) -> None:
    for other in RATES:
        table = [[rate.passed, rate.runs - rate.passed] for rate in (one, other)]
        assert chance(one, other) == pytest.approx(fisher_exact(table).pvalue, abs=1e-9), other


def test_several_scenarios_and_what_was_not_held() -> None:
    rows = [
        *(Row(Path("a.yaml"), "passed", number=number) for number in range(3)),
        Row(Path("a.yaml"), "failed"), Row(Path("b.yaml"), "passed"), Row(Path("b.yaml"), "not run"),
    ]  # fmt: skip
    assert report(rows).splitlines()[:4] == [
        "scenario  passed",
        "a         3/4 75% (30% to 95%)",
        "b         1/1 100% (21% to 100%)",
        "all       4/5 80% (38% to 96%)",
    ]


@pytest.fixture
def _scenario(live: None) -> None:
    Path("scenarios/hi.yaml").write_text("caller: [Hi]\nmodel: [x]\nexpect: {heard: [good evening]}\n")


@pytest.mark.usefixtures("_scenario")
def test_two_prompts_on_a_model_that_answers_at_random(gemini: Gemini) -> None:
    Path("polite.md").write_text("Be polite.")
    chances, said = random.Random(7), {True: list[bool](), False: list[bool]()}

    def answer(body: Json) -> Step:
        polite = "Be polite." in json.dumps(body["systemInstruction"])
        good = chances.random() < (0.9 if polite else 0.3)
        said[polite].append(good)
        return text("Good evening!" if good else "What?")

    gemini.answer = answer
    options = "--live --runs 20 --prompt polite.md --parallel 1 --junit out.xml --json out.json"
    result = CliRunner().invoke(app, ["simulate", *options.split()])
    assert result.exit_code == 1, result.output
    one, other = (Rate(sum(said[polite]), 20) for polite in (False, True))
    assert (len(said[False]), len(said[True])) == (20, 20)
    p = fisher_exact([[one.passed, 20 - one.passed], [other.passed, 20 - other.passed]]).pvalue
    assert p < 0.05, "the seed was chosen so"
    head, line, _, *usage = result.stdout.splitlines()[-9:]
    assert head.split("  ")[0] == "scenario"
    assert "as set" in head
    assert "with polite.md" in head
    assert line.split() == f"hi {one} {other} they differ (p = {p:.2g})".split()
    assert "40/40 hi with polite.md 20: " in result.stderr
    assert result.stdout.count("The caller did not hear") == 2, "of each setting one failing conversation is shown"
    assert len(list(Path(".simulated").glob("hi-as-set*.json"))) == 20 - one.passed
    assert [words.split(":")[0] for words in usage] == [
        f"{role} {setting}" for setting in ("as set", "with polite.md") for role in ("agent", "caller", "judge")
    ]
    # For CI
    out = json.loads(Path("out.json").read_text())
    for rate, told, setting in zip((one, other), out["rates"], ("as set", "with polite.md"), strict=True):
        known = binomtest(rate.passed, 20).proportion_ci(0.95, method="wilson")
        assert told.pop("interval") == pytest.approx([known.low, known.high])
        assert told == {
            "scenario": "hi", "setting": setting, "passed": rate.passed, "runs": 20, "share": rate.passed / 20
        }  # fmt: skip
    [compared] = out["comparisons"]
    assert compared.pop("p") == pytest.approx(p)
    assert compared == {"scenario": "hi", "settings": ["as set", "with polite.md"], "differ": True}
    properties = {one.get("name"): one.get("value") for one in ElementTree.parse("out.xml").getroot().iter("property")}
    assert properties["passed hi as set"] == str(one)
    assert properties["compared hi"] == f"they differ (p = {p:.2g})"


@pytest.mark.usefixtures("_scenario")
def test_a_comparison_needs_a_live_model() -> None:
    result = CliRunner().invoke(app, ["simulate", "--model", "google_genai:gemini-2.5-pro"])
    assert result.exit_code == 2
    assert result.stderr == "--prompt and --model compare what a model says: add --live, and --runs 20.\n"


@pytest.mark.usefixtures("_scenario")
def test_a_prompt_that_is_missing_is_told_before_the_first_call(gemini: Gemini) -> None:
    result = CliRunner().invoke(app, ["simulate", "--live", "--prompt", "nowhere.md"])
    assert result.exit_code == 2
    assert "nowhere.md cannot be read" in result.stderr
    assert not gemini.requests
