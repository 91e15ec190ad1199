"""The judge: what it is asked, what becomes of its verdicts, and whether it can be believed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from agent.llm import StructuredModel, load_model
from api.cli.main import app
from api.simulate import JudgeError, ModelJudge, Verdict
from api.simulate.judge_check import pairs
from api.testing import conversation, scripted_judge, scripted_model
from tests.simulate.conftest import Hold
from tests.support.gemini import Gemini, Json, Step, error, said, text

pytestmark = pytest.mark.usefixtures("live")

CALL = """\
caller:
- {say: A table at eight please, interrupt_after: 5 words}
- Thank you
model:
- Eight is taken, what about half past eight on the secret terrace instead?
- Goodbye.
judge:
- The agent offers another time.
- The agent says goodbye.
"""


def verdict(passes: bool, reason: str = "so it is", quote: str = "") -> dict[str, Any]:
    return {"pass": passes, "reason": reason, "quote": quote}


def verdicts(*given: dict[str, Any]) -> Step:
    return text(json.dumps({"verdicts": given}))


def simulate(*words: str) -> Result:
    return CliRunner().invoke(app, ["simulate", *words])


def agent(gemini: Gemini) -> None:
    gemini.script(text("Eight is taken, what about half past eight on the secret terrace instead?"), text("Goodbye."))


def asked_of_judge(gemini: Gemini) -> list[str]:
    return [said(request.body) for request in gemini.requests if "<criteria>" in said(request.body)]


# The model as judge, on the wire


def test_all_criteria_are_asked_at_once_of_what_was_heard(gemini: Gemini, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_MODEL", "google_genai:gemini-2.5-pro")
    Path("scenarios/table.yaml").write_text(CALL)
    agent(gemini)
    gemini.script(verdicts(verdict(True, quote="Eight is taken, what about"), verdict(False, "it only hangs up")))
    result = simulate("--live", "--json", "out.json")
    assert result.exit_code == 1, result.output
    assert result.stdout.startswith(
        'scenarios/table.yaml: Judged not to hold: "The agent says goodbye.". it only hangs up\n'
    )
    [asked] = asked_of_judge(gemini)
    assert "Agent: Eight is taken, what about" in asked
    assert "[interrupted by the caller]" in asked
    assert "terrace" not in asked
    assert "1. The agent offers another time.\n2. The agent says goodbye.\n" in asked
    request = gemini.requests[-1]
    assert request.model == "gemini-2.5-pro"
    assert request.body["generationConfig"]["temperature"] == 0
    assert request.body["generationConfig"]["responseMimeType"] == "application/json"
    [scenario] = json.loads(Path("out.json").read_text())["scenarios"]
    assert [one["pass"] for one in scenario["verdicts"]] == [True, False]


def test_the_same_conversation_is_judged_once(gemini: Gemini) -> None:
    Path("scenarios/table.yaml").write_text(CALL)
    for _ in range(2):
        agent(gemini)
        if not asked_of_judge(gemini):
            gemini.script(verdicts(verdict(True), verdict(True)))
        assert simulate("--live").exit_code == 0
    assert len(asked_of_judge(gemini)) == 1
    Path("scenarios/table.yaml").write_text(CALL.replace("says goodbye", "is polite"))
    agent(gemini)
    gemini.script(verdicts(verdict(True), verdict(True)))
    assert simulate("--live").exit_code == 0
    assert len(asked_of_judge(gemini)) == 2


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (text("I would say yes."), 'did not answer in the form it was given: "I would say yes."'),
        (text('{"verdicts": [{"pass": "perhaps", "reason": 3}]}'), "did not answer in the form it was given"),
        (verdicts(verdict(True)), "The judge gave 1 verdicts on 2 criteria."),
        (verdicts(verdict(True, quote="on the secret terrace"), verdict(True)), "The judge quotes what nobody heard"),
        (error(503), "The judge cannot be used: google_genai:gemini-3.5-flash-lite gave no answer (HTTP status 503)."),
    ],
)
def test_a_judge_that_cannot_be_used_is_a_sentence(gemini: Gemini, answer: Step, told: str) -> None:
    Path("scenarios/table.yaml").write_text(CALL)
    agent(gemini)
    gemini.script(answer)
    result = simulate("--live")
    assert result.exit_code == 1, result.output
    assert told in result.stdout.splitlines()[0]
    assert not list(Path(".simulated").glob("verdicts/*")), "what is no verdict must not be kept"


# Verdicts in the scenario


def test_scripted_verdicts(hold: Hold) -> None:
    given = "verdicts:\n- {pass: true, reason: a, quote: what about}\n- {pass: true, reason: b, quote: Goodbye}\n"
    assert hold(CALL + given).faults == []
    assert hold(CALL + given.replace("pass: true, reason: b", "pass: false, reason: too curt")).faults == [
        'Judged not to hold: "The agent says goodbye.". too curt ("Goodbye")'
    ]
    assert hold(CALL.replace("- Goodbye", "- Farewell") + given).faults == [
        'The judge quotes what nobody heard: "Goodbye".'
    ]


def test_criteria_without_verdicts_need_a_live_judge() -> None:
    Path("scenarios/table.yaml").write_text(CALL)
    assert simulate().stdout.splitlines()[-1].startswith("1 skipped")


def test_a_verdict_too_few_is_told() -> None:
    Path("scenarios/table.yaml").write_text(CALL + "verdicts:\n- {pass: true, reason: a}\n")
    result = simulate()
    assert result.exit_code == 2
    assert "write one verdict for each criterion under judge: 2 of them" in result.stdout


# Whether it can be believed


def test_a_right_judge_is_told_to_be_right(gemini: Gemini) -> None:
    good = {pair.good.strip() for pair in pairs()}

    def judge(body: Json) -> Step:
        return verdicts(verdict(any(call in said(body) for call in good)))

    gemini.answer = judge
    result = simulate("--check-judge")
    assert result.exit_code == 0, result.output
    assert result.stdout == "The judge is right about all of 12 calls.\n"


def test_a_judge_that_says_yes_to_everything_is_noticed(gemini: Gemini) -> None:
    gemini.answer = lambda body: verdicts(verdict(True))
    result = simulate("--check-judge")
    assert result.exit_code == 1
    assert result.stdout.startswith("The judge passes every bad call: it says yes to everything.")


def test_a_judge_that_says_no_to_everything_is_noticed(gemini: Gemini) -> None:
    gemini.answer = lambda body: verdicts(verdict(False))
    result = simulate("--check-judge")
    assert result.exit_code == 1
    assert result.stdout.startswith("The judge is wrong about 6 of 12 calls:")


def test_a_judge_that_talks_nonsense_is_noticed(gemini: Gemini) -> None:
    gemini.answer = lambda body: text("Lovely weather.")
    result = simulate("--check-judge")
    assert result.exit_code == 1
    assert result.stdout.startswith("The judge is wrong about 12 of 12 calls:")


def test_the_demo_model_cannot_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL", "demo")
    result = simulate("--check-judge")
    assert result.exit_code == 2
    assert result.stderr == "MODEL=demo is no language model: set JUDGE_MODEL.\n"


# In pytest


async def test_in_a_test() -> None:
    judge = scripted_judge(True, "it is curt")
    async with conversation(scripted_model("Half past eight?"), judge=judge) as talk:
        await talk.say("A table at eight")
        with pytest.raises(AssertionError, match="it is curt") as raised:
            await talk.judge("offers another time", "is friendly")
    assert "Half past eight?" in str(raised.value), "what fails prints the conversation"
    async with conversation(scripted_model("Half past eight?"), judge=scripted_judge(True)) as talk:
        await talk.say("A table at eight")
        await talk.judge("offers another time")


async def test_the_configured_judge_in_a_test(gemini: Gemini) -> None:
    gemini.script(verdicts(verdict(True, quote="Half past eight?")))
    async with conversation(scripted_model("Half past eight?")) as talk:
        await talk.say("A table at eight")
        await talk.judge("offers another time")
    gemini.verify()


def test_tokens_are_counted(gemini: Gemini, tmp_path: Path) -> None:
    asked = StructuredModel(load_model("gemini-2.5-pro", google_api_key="x", google_base_url=gemini.url), "gemini")
    gemini.script(verdicts(verdict(True)), text("nonsense"))
    judge = ModelJudge(asked, tmp_path)

    async def judged() -> None:
        assert await judge.verdicts("Agent: Hello", ["greets"]) == [Verdict(passed=True, reason="so it is")]
        used = asked.usage.input
        assert used > 0
        await judge.verdicts("Agent: Hello", ["greets"])
        assert asked.usage.requests == 1, "the second came from the cache"
        with pytest.raises(JudgeError):
            await judge.verdicts("Agent: Bye", ["greets"])
        assert asked.usage.input > used, "what is no answer is paid for too"

    asyncio.run(asked.closed_after(judged()))
