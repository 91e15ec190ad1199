"""`voice replay` and its options: real tools, the model asked again, a hang-up everywhere, an update."""

from __future__ import annotations

import asyncio
import difflib
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from agent.llm.streamed import StreamedAnswer
from agent.memory import history
from agent.replay.run_file import RunFile, load_run, save_run
from agent.turns.messages import interrupted_message
from api.cli.main import app
from tests.support.backend import Caller
from tests.support.gemini import Gemini, calls, error, text
from tests.support.recordings import TOOLS, record_once, write_tools

Voice = Callable[..., Any]


@pytest.fixture
def voice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gemini: Gemini) -> Voice:
    """`await voice("--update")`: replays the file, with Gemini's stand-in as the configured model."""
    for name, value in {
        "TOOLS_DIR": str(tmp_path / "made"),
        "GOOGLE_API_KEY": "test-key",
        "GOOGLE_GEMINI_BASE_URL": gemini.url,
        "DATABASE_URL": f"sqlite:///{tmp_path}/other.db",
    }.items():
        monkeypatch.setenv(name, value)

    async def run(*options: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, ["replay", "run.json", *options])

    return run


async def converse(caller: Caller) -> None:
    await caller.say("Weather and tea", turn="a")
    await caller.say(None, type="data", turn="d", data={"page": 2})
    await caller.say("A table for four", turn="b")
    await caller.say("Yes", turn="c")
    reply = await caller.say("Pay", turn="e", hang_up_after=9)
    await caller.say("Bye", turn="f", heard=("e", reply.text))


@pytest.fixture(scope="module")
def recorded_run(tmp_path_factory: pytest.TempPathFactory) -> RunFile:
    folder = tmp_path_factory.mktemp("run")
    return record_once(
        folder, write_tools(folder / "made"), converse,
        calls(("weather", {"city": "Paris"}), ("order", {"thing": "tea", "seconds": 0.08})),
        text("It is sunny, and tea is coming."),
        calls(("book", {"people": 4})),
        calls(("confirm", {"yes": True})),
        text("It is booked."),
        calls(("pay", {})),
        text("You have paid for everything.", delay=0.02),
        text("Good-bye."),
    )  # fmt: skip


@pytest.fixture
def run(recorded_run: RunFile, tmp_path: Path) -> RunFile:
    """Two tools at once, and data; a booking that is confirmed; a tool that speaks; a barge-in in words."""
    write_tools(tmp_path / "made")
    save_run(recorded_run, Path("run.json"))
    return recorded_run.model_copy(deep=True)


def change(tmp_path: Path, old: str, new: str) -> None:
    assert old in TOOLS
    write_tools(tmp_path / "made", TOOLS.replace(old, new))


def sentences(result: Result) -> list[str]:
    return [line.removeprefix("run.json: ") for line in result.stdout.splitlines() if not line.startswith(" ")]


async def test_without_options_it_says_ok_or_what_has_changed(run: RunFile, voice: Voice, tmp_path: Path) -> None:
    assert run.turns[4].hung_up
    result = await voice()
    assert (result.stdout, result.exit_code) == ("run.json: ok\n", 0)
    change(tmp_path, "Checking {city}.", "Looking at {city}.")
    result = await voice()
    assert sentences(result) == ['Turn 1: the caller hears "Looking at Paris." instead of "Checking Paris.".']
    assert result.exit_code == 1


# --from-turn


async def test_from_a_turn_on_only_what_comes_then_is_compared(run: RunFile, voice: Voice, tmp_path: Path) -> None:
    change(tmp_path, "Checking {city}.", "Looking at {city}.")
    assert (await voice("--from-turn", "1")).exit_code == 1
    result = await voice("--from-turn", "2")
    assert (result.stdout, result.exit_code) == ("run.json: ok\n", 0)
    change(tmp_path, 'say="Booking."', 'say="I book."')
    result = await voice("--from-turn", "2")
    assert sentences(result) == ['Turn 4: the caller hears "I book." instead of "Booking.".']
    assert (await voice("--from-turn", "5")).exit_code == 0


async def test_a_turn_that_is_not_there_is_one_sentence(run: RunFile, voice: Voice) -> None:
    result = await voice("--from-turn", "7")
    assert (result.stderr, result.stdout, result.exit_code) == ("run.json has no turn 7: it has 6.\n", "", 2)


async def test_options_that_exclude_each_other_are_one_sentence(run: RunFile, voice: Voice) -> None:
    before = Path("run.json").read_text()
    result = await voice("--update", "--from-turn", "2")
    assert result.stderr.count("\n") == 1
    assert "exclude each other" in result.stderr
    assert result.exit_code == 2
    assert Path("run.json").read_text() == before


# --update


def inputs(run: RunFile) -> str:
    """All of a file but what it expects."""
    fields = run.model_dump(mode="json", exclude={"prompt", "offered"})
    for turn in fields["turns"]:
        del turn["sent"]
        for call in turn["models"]:
            del call["same"], call["then"], call["tools"]
    return json.dumps(fields)


async def test_an_update_rewrites_what_is_expected_and_nothing_else(run: RunFile, voice: Voice, tmp_path: Path) -> None:
    """The diff shows the change where it is, and the file is green again."""
    before = Path("run.json").read_text()
    change(tmp_path, "Checking {city}.", "Looking at {city}.")
    result = await voice("--update")
    assert (result.stdout, result.exit_code) == ("run.json: updated\n", 0)
    after = Path("run.json").read_text()
    diff = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm=""))[2:]
    assert [re.sub(r"\d+", "0", line) for line in diff if not line.startswith("@@")] == [
        '-    [0, "say", "Checking Paris."],',
        '+    [0, "say", "Looking at Paris."],',
    ]
    assert inputs(load_run(Path("run.json"))) == inputs(run)
    assert (await voice()).stdout == "run.json: ok\n"


async def test_an_update_of_what_has_not_changed_changes_nothing(run: RunFile, voice: Voice) -> None:
    before = Path("run.json").read_bytes()
    assert (await voice("--update")).exit_code == 0
    assert Path("run.json").read_bytes() == before


async def test_what_was_never_recorded_is_not_made_up_by_an_update(run: RunFile, voice: Voice) -> None:
    """Else the apology for a missing answer would be what the test expects."""
    run.turns[0].models.pop()
    save_run(run, Path("run.json"))
    before = Path("run.json").read_text()
    result = await voice("--update")
    assert sentences(result)[:2] == [
        "not updated, as the recording has no answer to what happens now: record it anew.",
        "Turn 1: unexpected model call, the second of the turn.",
    ]
    assert result.exit_code == 1
    assert Path("run.json").read_text() == before


# --live-tools


async def test_live_tools_really_run_and_what_they_answer_is_compared(
    run: RunFile, voice: Voice, tmp_path: Path
) -> None:
    result = await voice("--live-tools")
    assert (result.stdout, result.exit_code) == ("run.json: ok\n", 0)
    change(tmp_path, 'f"Sunny in {city}."', 'f"Rain in {city}."')
    result = await voice("--live-tools")
    assert result.stdout.splitlines() == [
        "run.json: Turn 1: the tool weather has another result.",
        "    - finished: Sunny in Paris.",
        "    + finished: Rain in Paris.",
    ]
    assert result.exit_code == 1


async def test_live_tools_that_fail_or_are_gone_are_told(run: RunFile, voice: Voice, tmp_path: Path) -> None:
    change(tmp_path, 'return f"Sunny in {city}."', "raise OSError")
    assert sentences(await voice("--live-tools")) == ["Turn 1: the tool weather has another result."]
    change(tmp_path, "async def weather(", "async def forecast(")
    assert sentences(await voice("--live-tools")) == ["Turn 1: the tool weather was not called."]


async def test_live_tools_do_not_wait_for_the_callers_pauses_nor_are_overtaken(
    run: RunFile, voice: Voice, tmp_path: Path
) -> None:
    """A caller's minute takes no time; a tool that is slower now than the caller's next words were is waited for."""
    for number, turn in enumerate(run.turns):
        turn.at = number * 60_000
    save_run(run, Path("run.json"))
    began = time.monotonic()
    assert (await voice("--live-tools")).exit_code == 0
    assert time.monotonic() - began < 10
    for number, turn in enumerate(run.turns):
        turn.at = number * 100
    save_run(run, Path("run.json"))
    change(tmp_path, 'await asyncio.sleep(seconds)\n    return f"Sunny', 'await asyncio.sleep(0.5)\n    return f"Sunny')
    assert (await voice("--live-tools")).stdout == "run.json: ok\n"


# --live-model


async def test_a_model_that_does_the_same_in_other_words_is_fine(run: RunFile, gemini: Gemini, voice: Voice) -> None:
    gemini.script(
        calls(("weather", {"city": "Paris"}), ("order", {"thing": "tea", "seconds": 0.08}), text="Well."),
        text("Sun and tea."),
        calls(("book", {"people": 4})),
        calls(("confirm", {"yes": True})),
        text("Done."),
        calls(("pay", {})),
        text("Paid."),
        text("See you."),
    )
    result = await voice("--live-model")
    assert result.exit_code == 0, result.stdout
    lines = result.stdout.splitlines()
    assert lines[:2] == ["run.json: turn 1", "  caller    Weather and tea"]
    assert '  recorded  [weather({"city": "Paris"})]' in lines
    assert '  now       [weather({"city": "Paris"})]' in lines
    assert "  now       Well. Sun and tea." in lines
    assert [line for line in lines if not line.startswith(" ")] == [f"run.json: turn {n}" for n in (1, 3, 4, 5, 6)]


async def test_other_arguments_or_another_tool_are_told_and_the_status_is_1(
    run: RunFile, gemini: Gemini, voice: Voice
) -> None:
    gemini.script(
        calls(("weather", {"city": "Rome"}), ("order", {"thing": "tea", "seconds": 0.08})),
        text("Sunny."),
        calls(("book", {"people": 4})),
        text("I have not booked it."),
        calls(("pay", {})),
        text("Paid."),
        text("See you."),
    )
    result = await voice("--live-model")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert [line for line in lines if "OTHER" in line] == [
        "run.json: turn 1: OTHER TOOL CALLS",
        "run.json: turn 4: OTHER TOOL CALLS",
    ]
    assert '  recorded  [weather({"city": "Paris"})]' in lines
    assert '  now       [weather({"city": "Rome"})]' in lines
    assert '  recorded  [book({"people": 4})]' in lines


async def test_a_model_that_does_not_answer_is_no_agreement(run: RunFile, gemini: Gemini, voice: Voice) -> None:
    run.turns = run.turns[5:]
    save_run(run, Path("run.json"))
    gemini.script(error(503), error(503))
    result = await voice("--live-model")
    assert result.stdout.splitlines()[0] == "run.json: turn 1: THE MODEL FAILED"
    assert result.exit_code == 1


async def test_without_a_model_it_is_one_sentence(run: RunFile, voice: Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_API_KEY")
    result = await voice("--live-model")
    assert result.stderr.startswith("The model has no key:")
    assert result.stderr.count("\n") == 1
    assert (result.stdout, result.exit_code) == ("", 2)


# --barge-in everywhere


async def test_a_barge_in_at_every_event_leaves_all_as_it_must_be(run: RunFile, voice: Voice) -> None:
    places = sum(len(turn.sent) + 1 for turn in run.turns if turn.webhook["kind"] == "message")
    assert places > 30
    result = await voice("--barge-in", "everywhere")
    assert result.stdout == f"run.json: interrupted at {places} places: all hold\n"
    assert result.exit_code == 0


async def test_what_does_not_hold_is_told_with_its_place(
    run: RunFile, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here an agent that remembers what it did not say."""

    def cut(answer: Any) -> Any:
        return [interrupted_message("Nobody heard this.", answer._id)]

    monkeypatch.setattr(StreamedAnswer, "cut", cut)
    monkeypatch.setattr(history, "cut", lambda messages, spoken: messages)
    result = await voice("--barge-in", "everywhere")
    assert "run.json: turn 6, after 1 events: remembered is 'Nobody heard this.', but heard was" in result.stdout
    assert result.stdout.splitlines()[-1].endswith("faults")
    assert result.exit_code == 1


async def test_another_value_of_barge_in_is_one_sentence(run: RunFile, voice: Voice) -> None:
    result = await voice("--barge-in", "sometimes")
    assert (result.stderr, result.exit_code) == ("--barge-in takes one value: everywhere.\n", 2)
