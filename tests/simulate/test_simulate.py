"""Calls with scripted callers, through the real application."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from api.replay import replay
from api.simulate import Setup, load_scenario, run_file_of, simulate
from api.simulate.steps import Say
from tests.simulate.conftest import SCENARIOS, Hold


def test_a_caller_who_interrupts_has_heard_so_many_words_and_the_model_is_told_so(hold: Hold) -> None:
    result = hold(
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


def test_the_unexpected_is_told(hold: Hold) -> None:
    result = hold("caller: [The weather in Rome, And now]\nmodel: [{call: {weather: {city: Rome}}}, Sorry.]")
    assert result.faults[:2] == [
        "Turn 1: the scenario does not say under world: tools: what weather(city='Rome') returns.",
        "Turn 2: the model was asked for more answers than there are under model:.",
    ]


@pytest.mark.parametrize("file", sorted(SCENARIOS.glob("*.yaml")), ids=lambda file: file.stem)
def test_what_must_hold_holds_wherever_the_caller_interrupts(file: Path, setup: Setup) -> None:
    """Only the script may come to its end too early."""
    scenario = load_scenario(file)
    for place, step in enumerate(scenario.caller):
        for cut in (
            ["0 words", "1 words", "4 words", "9 words", "300ms", "900ms", "5s"] if isinstance(step, Say) else []
        ):
            changed = Say(**{**dict(step), "interrupt_after": cut})
            steps = [*scenario.caller[:place], changed, *scenario.caller[place + 1 :]]
            result = simulate(file.stem, scenario.model_copy(update={"caller": steps}), setup, folder=SCENARIOS)
            broken = [fault for fault in result.faults if fault.startswith("Turn ")]
            assert [fault for fault in broken if not re.search("more answers|the apology", fault)] == [], (place, cut)


def test_the_run_file_of_a_call_has_the_same_at_the_same_ms(hold: Hold, setup: Setup) -> None:
    for file in SCENARIOS.glob("*.yaml"):
        result = hold(file.stem)
        run = run_file_of(result, setup)
        assert run
        assert result.run
        assert [turn.sent for turn in run.turns] == [turn.sent for turn in result.run.turns]
        assert replay(run, setup.project).run == run
