"""Calls with scripted callers, through the real application."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from api.cli.simulate import setup_of
from api.replay import replay
from api.settings import Settings
from api.simulate import Setup, load_scenario, read_scenario, run_file_of, simulate
from api.simulate.steps import Say
from tests.simulate.conftest import SCENARIOS, Hold

CANCEL = '''
from agent import voice_tool

@voice_tool(confirm={"en": "Cancel the booking of {name}?", "de": "Die Buchung von {name} stornieren?"})
async def cancel(name: str) -> str:
    """Cancel a booking."""
    return "done"
'''
CANCELLED = """\
caller: [Bitte stornieren, Ja]
world: {tools: {cancel: Storniert.}}
model:
- call: {cancel: {name: Meier}}
- call: {confirm: {"yes": true}}
- Erledigt.
expect: {calls: [{tool: cancel}], heard: [Buchung von Meier stornieren]}
"""


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


PLATFORMS = ("layercode", "relay", "speech-engine", "completions")


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("file", sorted(SCENARIOS.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_call_over_any_platform_and_its_run_file_which_has_the_same_at_the_same_ms(
    file: Path, platform: str, setup: Setup
) -> None:
    scenario = load_scenario(file)
    if file.stem == "goodbye" and platform not in ("relay", "completions"):
        pytest.skip("cannot hang up")
    steps = [
        step.model_copy(update={"duplicate": False}) if isinstance(step, Say) else step for step in scenario.caller
    ]
    world = scenario.world.model_copy(update={"platform": platform})
    result = simulate(file.stem, scenario.model_copy(update={"world": world, "caller": steps}), setup, folder=SCENARIOS)
    assert [fault for fault in result.faults if "first words" not in fault] == []
    assert (result.faults == []) == ((file.stem, platform) != ("booking", "completions")), "a guess is waited for"
    run = run_file_of(result, setup)
    assert run
    assert result.run
    assert [turn.sent for turn in run.turns] == [turn.sent for turn in result.run.turns]
    assert replay(run, setup.project).run == run


def test_an_action_is_confirmed_in_the_language_of_the_call(tmp_path: Path) -> None:
    """The question that its caller must have heard is the one in their language."""
    (tmp_path / "cancel.py").write_text(CANCEL)
    german = setup_of(Settings.model_construct(tools_dir=tmp_path, default_language="de"))
    result = simulate("test", read_scenario(CANCELLED, Path("test.yaml")), german, folder=tmp_path)
    assert result.faults == []


def test_keys_are_pressed_on_a_phone(hold: Hold) -> None:
    result = hold("caller: [{dtmf: 12#}]\nworld: {platform: relay}\nmodel: [You have pressed twelve.]\n")
    assert result.faults == []
    assert result.run
    assert "1 2 #" in result.run.turns[1].webhook["text"]


@pytest.mark.parametrize("platform", ["relay", "completions"])
def test_nothing_is_said_by_a_caller_once_the_agent_has_hung_up(hold: Hold, platform: str) -> None:
    end = "{say: Bye., call: {end_call: {}}}"
    result = hold(f"caller: [Bye, Wait]\nworld: {{platform: {platform}}}\nmodel: [{end}]\n")
    assert result.faults == ['The call was over before this came: "Wait".']
    assert result.conversation.ends == "hung up by the agent"


def test_a_caller_who_interrupts_the_goodbye_is_not_hung_up_on(hold: Hold) -> None:
    end = "{say: Goodbye and have a nice day and come again., call: {end_call: {}}}"
    caller = "caller: [{say: Bye, interrupt_after: 2 words}, Wait]"
    result = hold(f"{caller}\nworld: {{platform: relay}}\nmodel: [{end}, Well]\nexpect: {{ends: open}}\n")
    assert result.faults == []
    assert result.conversation.exchanges[1].heard == "Goodbye and"


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_caller_hangs_up_while_a_tool_runs(hold: Hold, platform: str) -> None:
    """That is noticed at once: a tool that may be cancelled is, and the model is asked no more."""
    caller = "caller: [{say: Rome please, interrupt_after: 500ms}, hang_up]"
    world = f"world: {{platform: {platform}, tools: {{weather: {{result: Sunny., after: 6s}}}}}}"
    model = "model: [{say: Let me look., call: {weather: {city: Rome}}}]"
    result = hold(f"{caller}\n{world}\n{model}\nexpect: {{ends: hung up by the caller}}\n")
    assert result.faults == []
    assert result.conversation.seconds < 6


@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_is_sent_twice_while_an_action_is_confirmed(hold: Hold, platform: str) -> None:
    caller = "caller: [A table for four, {say: 'Yes', duplicate: true}, duplicate, Thanks]"
    world = f"world: {{platform: {platform}, tools: {{book_table: {{result: Booked., after: 2s}}}}}}"
    call = '{call: {book_table: {people: 4, time: "20:00", date: today}}}'
    yes, anew = "{call: {confirm: {yes: true}}}", platform == "relay"
    answers = [call, *([yes] if anew else []), yes, "It is booked.", "Bye."]
    result = hold(f"{caller}\n{world}\nmodel: [{', '.join(answers)}]\nexpect: {{calls: [{{tool: book_table}}]}}\n")
    assert result.faults == []
    said = [exchange.said for exchange in result.conversation.exchanges[1:]]
    assert said == ["A table for four", *(["Yes"] if anew else []), "Yes", "Thanks"]


@pytest.mark.parametrize("again", ["{say: Hi, duplicate: true}", "Hi, duplicate"])
def test_words_that_come_again_on_a_new_connection(hold: Hold, again: str) -> None:
    """A phone call's socket is opened again: what had no effect is begun anew, and the caller hears that."""
    caller = f"caller: [{again}, Bye]\nworld: {{platform: relay}}\n"
    result = hold(f"{caller}model: [Hello there., Hello again., Goodbye.]\nexpect: {{heard: [Hello again]}}\n")
    assert result.faults == []
    first, second, third = result.conversation.exchanges[1:]
    assert (first.said, second.said, third.said) == ("Hi", "Hi", "Bye")
    assert second.heard == "Hello again."
    assert first.turn_id != second.turn_id or not first.turn
