"""The scenarios that come with this project, with live models: the scripted Gemini as agent, caller and judge."""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from api.cli.main import app
from api.simulate import Scenario, load_scenario
from api.simulate.scenario import ModelAnswer
from api.simulate.steps import Say, Words
from tests.simulate.conftest import SCENARIOS
from tests.support.gemini import Gemini, Json, Step, calls, said, text

pytestmark = pytest.mark.usefixtures("live")
FILES = sorted(SCENARIOS.glob("*.yaml"))


class Cast:
    """Plays what stands in the scenarios' files, one file after the other: their judge speaks last."""

    def __init__(self, scenarios: Sequence[Scenario]) -> None:
        self._scenarios = deque(scenarios)
        self.asked = Counter[str]()
        self._next()

    def __call__(self, body: Json) -> Step:
        if "You play a person" in json.dumps(body.get("systemInstruction", "")):
            self.asked["caller"] += 1
            return text(json.dumps(self._moves.popleft() if self._moves else {"hang_up": True}))
        if "<criteria>" in said(body):
            self.asked["judge"] += 1
            given = [verdict.model_dump(by_alias=True) for verdict in self._playing.verdicts or ()]
            self._next()
            return text(json.dumps({"verdicts": given}))
        self.asked["agent"] += 1
        answer = self._answers.popleft()
        return calls(*answer.calls, text=answer.say) if answer.calls else text(answer.say)

    def _next(self) -> None:
        if self._scenarios:
            self._playing = self._scenarios.popleft()
            self._moves = deque(_move(step) for step in self._playing.caller if isinstance(step, Say))
            self._answers = deque(one for one in self._playing.model or () if isinstance(one, ModelAnswer))


def _move(step: Say) -> dict[str, Any]:
    until = step.interrupt_after
    return {"say": step.say, **({"interrupt_after_words": until} if isinstance(until, Words) else {})}


def test_all_pass_with_gemini_as_agent_caller_and_judge(gemini: Gemini) -> None:
    for file in FILES:  # how quick an answer is depends on the machine here
        Path("scenarios", file.name).write_text(file.read_text().replace("first_words: 1s", "first_words: 9s"))
    cast = gemini.answer = Cast([load_scenario(file) for file in FILES])
    began = time.process_time()
    result = CliRunner().invoke(app, ["simulate", "--live", "--json", "out.json", "--junit", "out.xml"])
    assert result.exit_code == 0, result.output
    assert time.process_time() - began < 10
    out = json.loads(Path("out.json").read_text())
    assert [(one["scenario"], one["status"]) for one in out["scenarios"]] == [
        (f"scenarios/{file.name}", "passed") for file in FILES
    ]
    assert all(one["verdicts"] for one in out["scenarios"])
    assert cast.asked["judge"] == len(FILES) == 6
    assert not gemini.violations
    # What it took: in the JSON, for CI, and in the last lines
    usage = {one["role"]: one for one in out["usage"]}
    assert {role: used["requests"] for role, used in usage.items()} == cast.asked
    properties = ElementTree.parse("out.xml").getroot().iter("property")
    told = {str(one.get("name")): str(one.get("value")) for one in properties}
    for line, (role, used) in zip(result.stdout.splitlines()[-3:], usage.items(), strict=True):
        assert min(used["input"], used["output"], used["seconds"]) > 0
        words = f"{used['requests']} requests, {used['input']} tokens in, {used['output']} out, {used['seconds']:.1f} s"
        assert line.split(maxsplit=1) == [f"{role}:", words]
        assert told[f"tokens {role}"] == words
    assert sum(one["usage"]["agent"]["input"] for one in out["scenarios"]) == usage["agent"]["input"]


def test_without_a_key_all_are_judged_by_what_ships_with_them() -> None:
    result = CliRunner().invoke(app, ["simulate", str(SCENARIOS), "--json", "out.json"], env={"MODEL": "nowhere"})
    assert result.exit_code == 0, result.output
    out = json.loads(Path("out.json").read_text())
    assert all(one["status"] == "passed" and one["verdicts"] for one in out["scenarios"])
    assert "tokens" not in result.stdout
    assert [(one["role"], one["requests"], one["input"]) for one in out["usage"]] == [
        ("agent", 0, 0), ("caller", 0, 0), ("judge", 0, 0)
    ]  # fmt: skip
