"""A scenario's file: what is read, and what is said of what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.simulate import Scenario, ScenarioError, load_scenario, read_scenario
from api.simulate.steps import HangUp, Say, Silence

FILE = Path("scenarios/tides.yaml")


def read(text: str) -> Scenario:
    return read_scenario(text, FILE)


def test_words_that_yaml_takes_for_something_else_are_words() -> None:
    scenario = read('caller: [Yes, "No", 19:30, 007, on, 2026-03-02]\nmodel: [Yes]')
    assert [step.say for step in scenario.caller if isinstance(step, Say)] == [
        "Yes", "No", "19:30", "007", "on", "2026-03-02"
    ]  # fmt: skip


def test_the_steps_of_a_caller() -> None:
    scenario = read("caller:\n- {say: Hi, interrupt_after: 4 words}\n- silence: 8s\n- hang_up\nmodel: [Hi]")
    assert scenario.caller == [
        Say(say="Hi", interrupt_after="4 words"), Silence(silence="8s"), HangUp(hang_up=True)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("caller: [Hi\n", "2: a list in brackets goes wrong here: put a text with one of , ? : [ ] { } in quotes."),
        ("caller:\n- say: No: really\n", "2: a colon followed by a space stands in a text: put the text in quotes."),
        ("caller: [Hi]\ncaller: [Ho]\n", "2: `caller` stands twice."),
        ("- Hi", "1: a scenario is a mapping with caller: and model:, see docs/simulate.md."),
        ("", "1: a scenario is a mapping with caller: and model:, see docs/simulate.md."),
        ("caller:\n- say: Hi\n  intrrupt_after: 4 words\n", "3: there is no field `intrrupt_after` here: is "
         "`interrupt_after` meant?"),
        ("caller:\n- say: Hi\n  interrupt_after: 4\n", "3: `interrupt_after: 4`: write how much of the answer is "
         "heard, such as 4 words or 2s."),
        ("caller:\n- Hi\n- silence: long\n", "3: `silence: long`: write a time such as 8s, 500ms or 2m."),
        ("caller:\n- dtmf: one\n", "2: `dtmf: one`: write keys from 0 to 9, * and #."),
        ("caller:\n- dtmf: 1#\n", "1: keys are pressed on a phone: write world: platform: relay, or leave out "
         "dtmf:."),
        ("caller:\n- sing: la\n", "2: a step of the caller's is words to say, or one of say:, silence: 8s, dtmf: "
         '"1#", duplicate, hang_up.'),
        ("caller:\n- Hi\n- say: ' '\nmodel: []\n", "3: `say:  `: write what the caller says; one who says nothing is "
         "silence: 2s."),
        ("about: x\ncaller: [duplicate, Hi]\n", "2: duplicate sends the caller's last words once more: put it after "
         "some."),
        ("caller: [Hi]\njudge: [a, b]\nverdicts:\n- {pass: true, reason: c}\n", "3: write one verdict for each "
         "criterion under judge: 2 of them."),
        ("about: Nobody.\n", "1: write who calls: caller:, a list of words to say, or one of say:, silence: 8s, "
         'dtmf: "1#", duplicate, hang_up; or persona:; or both.'),
        ("caller: [Hi]\nmodel: 3\n", "2: `model: 3`: write a list of the model's answers, or recording: FILE.json."),
        ("caller: [Hi]\nmodel:\n- Hm\n- after: 2s\n", "4: write what the model answers: words, call: {tool: "
         "{argument: value}}, or fails: true."),
        ("caller: [Hi]\nworld:\n  tools:\n    tides: {real: true, fails: true}\n", "4: write what the tool does, one "
         "of result: …, fails: words or true, times_out: true, real: true."),
        ("caller: [Hi]\nexpect:\n  calls:\n  - tool: tides\n    times: twice\n", "5: `times: twice`: write once, "
         "at most once, at least once, never, or a number."),
        ("caller: Hi\n", "1: `caller: Hi`: write under `caller:` a list, each line with a dash."),
        ("caller: [Hi]\nworld: rainy\n", "2: `world: rainy`: write under `world:` a field and its value in each "
         "line."),
        ("caller: [Hi]\nexpect:\n  ends: badly\n", "3: `ends: badly`: write 'hung up by the agent', 'transferred', "
         "'hung up by the caller' or 'open'."),
    ],
)  # fmt: skip
def test_an_error_names_the_line_and_what_to_write(text: str, said: str) -> None:
    with pytest.raises(ScenarioError) as error:
        read(text)
    assert str(error.value) == f"scenarios/tides.yaml:{said}"


def test_a_tool_that_does_not_exist_is_told_where_the_tools_are_known() -> None:
    text = (
        "caller: [Hi]\nworld:\n  tools:\n    tide: High.\nexpect:\n  calls:\n  - tool: moon\n"
        "model:\n- call: {tids: {}}\n- call:\n  - tides: {}\n  - moons: {day: 1}\n"
        "- call: {confirm: {yes: true}}\n"
    )
    with pytest.raises(ScenarioError) as error:
        read_scenario(text, FILE, ["tides"])
    assert str(error.value).splitlines() == [
        "scenarios/tides.yaml:4: `tide`: there is no such tool, write tides.",
        "scenarios/tides.yaml:7: `tool: moon`: there is no such tool.",
        "scenarios/tides.yaml:9: `tids`: there is no such tool, write tides.",
        "scenarios/tides.yaml:12: `moons`: there is no such tool.",
    ]


def test_every_error_of_a_file_is_told() -> None:
    with pytest.raises(ScenarioError) as error:
        read("caller:\n- silence: long\nmodle: [Hi]\nexpect:\n  silence: 3 days\n")
    assert [line.split(":")[1] for line in str(error.value).splitlines()] == ["2", "3", "5"]


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"none.yaml cannot be read: No such file or directory."):
        load_scenario(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes("caller: [Grüß Gott]".encode("latin-1"))
    with pytest.raises(ScenarioError, match=r"latin.yaml is not text in UTF-8."):
        load_scenario(tmp_path / "latin.yaml")


_BOMB = "about: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{letter}: &{letter} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, letter in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{_BOMB}caller: *g\n", "2: *a is not read here: write out what it stands for."),
        ("caller: &a [*a]\n", "1: *a is not read here: write out what it stands for."),
        ("caller: !!int abc\n", "1: a text that begins with ! is put in quotes, and tags are not read."),
        ("caller: !!timestamp abc\n", "1: a text that begins with ! is put in quotes, and tags are not read."),
        ("caller: !!python/object/apply:os.system [id]\n",
         "1: a text that begins with ! is put in quotes, and tags are not read."),
        ("caller: [Hi]\n[1, 2]: 3\n", "2: a field's name is a word: put a text that begins with [ or { in quotes."),
        (f"caller: {'9' * 5000}\n", f"1: `caller: {'9' * 40}…`: write under `caller:` a list, each line with a dash."),
        ("caller: \x01\n", '1: this is not YAML: unacceptable character #x0001: special characters are not allowed in '
         '"<unicode string>", position 8.'),
    ],
)  # fmt: skip
def test_what_is_made_to_do_harm_is_wrong_like_anything_else(text: str, said: str) -> None:
    with pytest.raises(ScenarioError) as error:
        read(text)
    assert str(error.value) == f"{FILE}:{said}"
