"""What a scenario expects, and what its world does: each is seen to hold, and seen not to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agent.replay.run_file import save_run
from api.simulate import Setup, run_file_of
from tests.simulate.conftest import Hold
from tests.support.backend import ROOT

CALL = """
caller: [The weather in Rome, And in Oslo]
world:
  tools:
    weather: Fine.
model:
- call: {weather: {city: Rome}}
- It is fine in Rome.
- call: {weather: {city: Oslo}}
- It is fine in Oslo, too.
expect:
"""

ROME = "{tool: weather, arguments: {city: Rome}}"
OSLO = "{tool: weather, arguments: {city: Oslo}}"


@pytest.mark.parametrize(
    ("met", "unmet", "told"),
    [
        ("calls: [{tool: weather, arguments: {city: Rome}}]", "calls: [{tool: weather}]",
         "weather() ran twice, and expected is once. What ran: weather(city='Rome'); weather(city='Oslo')."),
        ("calls: [{tool: weather, times: 2}]", "calls: [{tool: weather, times: 3}]", "weather() ran twice, and expected"
         " is 3 times. What ran: weather(city='Rome'); weather(city='Oslo')."),
        ("calls: [{tool: weather, times: at least once}]", "calls: [{tool: weather, times: at most once}]",
         "weather() ran twice, and expected is at most once. What ran: weather(city='Rome'); weather(city='Oslo')."),
        ("calls: [{tool: clock, times: never}]", "calls: [{tool: weather, arguments: {city: Oslo}, times: never}]",
         "weather(city='Oslo') ran once, and expected is never. What ran: weather(city='Rome'); weather(city='Oslo')."),
        ("calls: [{tool: weather, arguments: {city: Rome}, exactly: true}]",
         "calls: [{tool: weather, exactly: true}]",
         "weather() ran 0 times, and expected is once. What ran: weather(city='Rome'); weather(city='Oslo')."),
        (f"in_order: true\n  calls: [{ROME}, {OSLO}]", f"in_order: true\n  calls: [{OSLO}, {ROME}]",
         "The tools ran in another order: weather; weather."),
        ("calls: [{tool: weather, times: 2}]\n  no_other_calls: true",
         "calls: [{tool: weather, arguments: {city: Rome}}]\n  no_other_calls: true",
         "weather(city='Oslo') ran, which is not expected."),
        ("heard: [FINE in rome]", "heard: [rain]", 'The caller did not hear "rain".'),
        ("not_heard: [rain in Rome]", "not_heard: [fine in Oslo too]", 'The caller heard "fine in Oslo too".'),
        ("first_words: 0.4s", "first_words: 300ms",
         "Turn 1: the first words came after 0.4 s, and the limit is 0.3 s."),
        ("silence: 1s", "silence: 200ms", "Turn 1: nothing was said for 0.4 s, from 0.0 s on, and the limit is 0.2 s."),
        ("ends: open", "ends: hung up by the caller",
         "The call ended otherwise: open, and not hung up by the caller."),
    ],
)  # fmt: skip
def test_an_expectation_is_met_or_told(hold: Hold, met: str, unmet: str, told: str) -> None:
    assert hold(f"{CALL}  {met}\n").faults == []
    assert hold(f"{CALL}  {unmet}\n").faults[0] == told


def tool(answer: str, *, model: str = "- Sorry.", caller: str = "- The weather in Rome", expect: str = "{}") -> str:
    call = "- call: {weather: {city: Rome}}"
    return f"caller:\n{caller}\nworld:\n  tools:\n    weather: {answer}\nmodel:\n{call}\n{model}\nexpect: {expect}\n"


@pytest.mark.parametrize(
    ("answer", "ended"),
    [
        ("{result: Fine.}", "finished"),
        ("{result: {sky: [clear]}, after: 7.9s}", "finished"),
        ("{result: Fine., after: 8.1s}", "timed out"),
        ("{times_out: true}", "timed out"),
        ("{fails: It is closed.}", "failed"),
        ("{fails: true}", "failed"),
    ],
)
def test_what_a_tool_does(hold: Hold, answer: str, ended: str) -> None:
    result = hold(tool(answer))
    assert result.faults == []
    assert [one.ended for exchange in result.conversation.exchanges for one in exchange.tools] == [ended]


def test_answers_of_a_tool_come_in_turn_and_the_last_one_stays(hold: Hold) -> None:
    call = "- call: {weather: {city: Rome}}\n- Well.\n"
    result = hold(tool("[First., Second.]", caller="- a\n- b\n- c", model=f"- Well.\n{call}{call}"))
    assert result.faults == []
    assert result.run
    assert [call.result for turn in result.run.turns for call in turn.tools] == ["First.", "Second.", "Second."]


def test_a_real_tool_that_wants_the_network_is_told(hold: Hold) -> None:
    result = hold(tool("{real: true}"))
    words = "weather wanted to use the network, which a real one has not: write what it returns"
    assert result.faults == [f"Turn 1: {words}."]


def test_a_real_tool_that_uses_threads_runs(hold: Hold) -> None:
    text = "caller: [The time in Tokyo]\nworld:\n  tools:\n    clock: {real: true}\n"
    result = hold(f"{text}model: [{{call: {{clock: {{place: Tokyo}}}}}}, It is late.]")
    assert result.faults == []
    assert result.run
    assert "in Tokyo" in result.run.turns[1].tools[0].result


def test_the_apology_is_a_fault_unless_it_is_expected(hold: Hold) -> None:
    down = "caller: [Hi]\nmodel: [{fails: true}, {fails: true}]\n"
    assert hold(down).faults[0].startswith("Turn 1: the caller heard the apology in place of an answer")
    assert hold(f"{down}expect: {{apology: true}}\n").faults == []


def test_silence_and_hanging_up(hold: Hold) -> None:
    result = hold("caller: [Hi, {silence: 30s}, hang_up]\nmodel: [Hello.]\nexpect: {ends: hung up by the caller}")
    assert result.faults == []
    assert 30 < result.conversation.seconds < 35


def test_hanging_up_in_the_middle_of_an_answer(hold: Hold) -> None:
    count = "One two three four five six seven."
    result = hold(f"caller: [{{say: Count, interrupt_after: 3 words}}, hang_up]\nmodel: [{count}]\n")
    assert result.faults == []
    assert result.conversation.heard.strip() == "One two three"


def test_what_does_not_come_about_is_told(hold: Hold) -> None:
    assert hold("caller: [{say: Hi, interrupt_after: 9 words}]\nmodel: [Hello., Bye.]\n").faults == [
        "The call was over before this came: an interruption after 9 words of the answer.",
        "1 of the model's answers was never asked for.",
    ]


@pytest.mark.parametrize("again", ["{say: Hi, duplicate: true}", "Hi, duplicate"])
def test_the_same_request_twice(hold: Hold, again: str) -> None:
    result = hold(f"caller: [{again}, Bye]\nmodel: [Hello there., Goodbye.]\n")
    assert result.faults == []
    first, second = result.conversation.exchanges[1:]
    (other,) = first.again
    assert [event[1:] for event in first.stream.sent] == [event[1:] for event in other.sent] or not other.sent
    assert second.heard == "Goodbye."


def test_the_answers_of_a_recording(hold: Hold, setup: Setup, tmp_path: Path) -> None:
    run = run_file_of(hold(CALL), setup)
    assert run
    save_run(run, tmp_path / "rome.json")
    result = hold(CALL.partition("model:")[0] + f"model: {{recording: {tmp_path}/rome.json}}\n")
    assert result.faults == []
    assert result.conversation.heard == hold(CALL).conversation.heard


# In pytest


def test_scenarios_are_tests_by_being_there(tmp_path: Path) -> None:
    """What fails tells the cause in its first line; what needs a live model is skipped, and counted."""
    (tmp_path / "scenarios").mkdir()
    files = {
        "good": "caller: [Hi]\nmodel: [Hello.]\n",
        "bad": "caller: [Hi]\nmodel: [Hello.]\nexpect: {heard: [Goodbye]}\n",
        "broken": "caller: [Hi]\nmodle: [Hello.]\n",
        "live": "caller: [Hi]\n",
    }
    for name, text in files.items():
        (tmp_path / "scenarios" / f"{name}.yaml").write_text(text)
    by_hand = "import pytest\n\n@pytest.mark.live\ndef test_judged() -> None:\n    raise AssertionError\n"
    (tmp_path / "scenarios" / "test_by_hand.py").write_text(by_hand)
    options = ["-n0", "-rs", "-c", str(ROOT / "pyproject.toml"), f"--rootdir={ROOT}"]
    command = [sys.executable, "-m", "pytest", *options, str(tmp_path / "scenarios")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("2 failed, 1 passed, 2 skipped"), done.stdout + done.stderr
    assert "Traceback" not in done.stdout
    assert f'{tmp_path}/scenarios/bad.yaml: The caller did not hear "Goodbye".' in lines
    assert f"{tmp_path}/scenarios/broken.yaml:2: there is no field `modle` here: is `model` meant?" in lines
    assert sum(line.startswith("SKIPPED") and line.endswith("needs a live model") for line in lines) == 2
