"""What goes wrong in a live run, in a process of its own: a sentence, and what came of everything else is kept."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.conftest import TOOLS
from tests.support.backend import process
from tests.support.gemini import Gemini, Json, Step, error, said, text

GOOD = "caller: [Hi]\nmodel: [Hello there.]\nexpect: {heard: [Hello there]}\n"
FILES = ("--json", "out.json", "--junit", "out.xml", "--html", "out.html")


@pytest.fixture(autouse=True)
def _scenarios() -> None:
    Path("scenarios").mkdir()


def write(**scenarios: str) -> None:
    for name, body in scenarios.items():
        Path("scenarios", f"{name}.yaml").write_text(body)


def live(gemini: Gemini, *options: str) -> Any:
    key = {"GOOGLE_GENERATIVE_AI_API_KEY": "test-key", "GOOGLE_GEMINI_BASE_URL": gemini.url}
    return process(["simulate", "--live", *FILES, *options], **key, TOOLS_DIR=str(TOOLS))


def role(body: Json) -> str:
    if "You play a person" in json.dumps(body.get("systemInstruction", "")):
        return "caller"
    return "judge" if "<criteria>" in said(body) else "agent"


def kept() -> dict[str, str]:
    """The statuses in the JSON, which are those of the other files too."""
    statuses = {
        " ".join(filter(None, [Path(one["scenario"]).stem, str(one["run"]) if one["run"] > 1 else ""])): one["status"]
        for one in json.loads(Path("out.json").read_text())["scenarios"]
    }
    kinds = {"failed": ["failure"], "broken": ["error"], "not run": ["skipped"], "passed": []}
    cases = ElementTree.parse("out.xml").getroot().iter("testcase")
    assert {case.get("name"): [child.tag for child in case] for case in cases} == {
        name: kinds[status] for name, status in statuses.items()
    }
    page = Path("out.html").read_text()
    assert all(f"{status}</span><b>{name}</b>" in page for name, status in statuses.items())
    return statuses


def test_one_scenarios_trouble_is_no_others(gemini: Gemini) -> None:
    write(
        a_good=GOOD,
        b_agent_is_down="caller: [Nobody answers this]\n",
        c_caller_is_down="persona: {goal: Silence}\njudge: [The agent is polite.]\n",
        d_caller_talks_nonsense="persona: {goal: Nonsense}\n",
        e_judge_is_down="caller: [Hi]\njudge: [It is silent.]\n",
        f_judge_talks_nonsense="caller: [Hi]\njudge: [It is nonsense.]\n",
        g_broken="caller: [Hi]\nworld:\n  dates: today\n",
        h_endless="caller:\n- silence: 5m\n- silence: 5m\n- silence: 1s\n- Hi\n",
        i_good=GOOD,
    )
    judged = []

    def answer(body: Json) -> Step:
        asked = json.dumps(body)
        if role(body) == "judge":
            judged.append(said(body))
        down = {"agent": "Nobody answers this", "caller": "Your goal: Silence", "judge": "It is silent."}
        if down[role(body)] in asked:
            return error(503)
        return text("Hello there." if role(body) == "agent" else "Lovely weather.")

    gemini.answer = answer
    with live(gemini) as running:
        out, _ = running.communicate(timeout=200)
    assert running.returncode == 2, out
    assert "Traceback" not in out
    down, nonsense = "gave no answer (HTTP status 503).", 'did not answer in the form it was given: "Lovely weather."'
    model = "google_genai:gemini-3.5-flash-lite"
    causes = {
        "b_agent_is_down": "Turn 1: the caller heard the apology in place of an answer, as the model failed (",
        "c_caller_is_down": f"The caller could not be played: {model} {down}",
        "d_caller_talks_nonsense": f"The caller could not be played: {model} {nonsense}",
        "e_judge_is_down": f"The judge cannot be used: {model} {down}",
        "f_judge_talks_nonsense": f"The judge cannot be used: {model} {nonsense}",
        "h_endless": "The call was not over after 600 s, which at_most: allows.",
    }
    for name, cause in causes.items():
        assert f"\nscenarios/{name}.yaml: {cause}" in out, name
    assert "\nscenarios/g_broken.yaml:3: there is no field `dates` here: is `date` meant?\n" in out
    assert kept() == {
        "a_good": "passed", **dict.fromkeys(causes, "failed"), "g_broken": "broken", "i_good": "passed"
    }  # fmt: skip
    assert len(judged) == 2, "a call that was broken off is not judged"
    assert "\ncaller: 2 requests, " in out
    assert "\njudge:  2 requests, " in out


@pytest.mark.parametrize(
    ("hangs", "options"),
    [("agent", ()), ("caller", ()), ("judge", ()), ("caller", ("--runs", "2")), ("caller", ("--parallel", "2"))],
    ids=["agent", "caller", "judge", "several runs", "several processes"],
)
def test_ctrl_c_keeps_what_is_over(gemini: Gemini, hangs: str, options: tuple[str, ...]) -> None:
    """While a model does not answer."""
    write(a_good=GOOD, b_hangs="persona: {goal: Wait}\njudge: [It hangs.]\n", c_good=GOOD, d_good=GOOD)
    hanging = threading.Event()
    moves = {"agent": "Hello there.", "caller": '{"say": "Wait for me", "hang_up": true}', "judge": "{}"}

    def answer(body: Json) -> Step:
        waits = role(body) == hangs and (hangs != "agent" or "Wait for me" in said(body))
        if waits:
            hanging.set()
        return replace(text(moves[role(body)]), stall=60 if waits else 0)

    gemini.answer = answer
    with live(gemini, *options) as running:
        assert hanging.wait(100)
        done = ["a_good"] if "--parallel" not in options else ["a_good", "c_good", "d_good"]
        while not all(f" {name}: passed" in running.printed() for name in done):
            assert running.poll() is None
            time.sleep(0.02)
        began = time.monotonic()
        os.kill(running.pid, signal.SIGINT)
        out, _ = running.communicate(timeout=100)
    assert time.monotonic() - began < 30, "nobody waits for the answer of a model after Ctrl-C"
    assert running.returncode == 130, out
    assert "Broken off. What is over by now is below.\n" in out
    assert "Traceback" not in out
    statuses = kept()
    assert {name for name, status in statuses.items() if status == "passed"} >= set(done)
    assert statuses["b_hangs"] == "not run"
    assert len(statuses) == (8 if "--runs" in options else 4)
