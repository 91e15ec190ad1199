"""A caller played by a model, on the wire."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agent.replay import save_run
from agent.replay.run_file import load_run
from api.cli.main import app
from api.cli.simulate import setup_of
from api.replay import replay
from api.settings import Settings
from api.simulate import load_scenario, run_file_of, simulate
from tests.support.gemini import Gemini, Json, Step, calls, responses, said, text

PERSONA = """\
persona:
  goal: A table for four tonight.
  knows: [The name is Ada.]
  manner: [You interrupt.]
  language: German
  turns: 20
world:
  tools:
    weather: Sunny.
expect: {heard: [never said]}
"""


@pytest.fixture(autouse=True)
def _scenario(live: None) -> None:
    Path("scenarios/ada.yaml").write_text(PERSONA)


def is_caller(body: Json) -> bool:
    return "You play a person" in json.dumps(body.get("systemInstruction", ""))


@pytest.fixture
def moves(gemini: Gemini) -> list[Json]:
    """What the caller's model is asked, who says twenty sentences, interrupts once and is silent once."""
    moves: list[Json] = []

    def answer(body: Json) -> Step:
        if is_caller(body):
            moves.append(body)
            number = len(moves)
            move: dict[str, Any] = {"say": f"Sentence {number} of mine"}
            if number == 3:
                move["interrupt_after_words"] = 4
            if number == 5:
                move["silent_seconds"] = 3
            return text(json.dumps(move))
        if responses(body):
            return text("It is sunny.")
        if said(body).endswith("Sentence 7 of mine"):
            return calls(("weather", {"city": "Rome"}))
        return text("I have heard you well, and will now go on to speak for some time.")

    gemini.answer = answer
    return moves


def test_twenty_turns_are_saved_and_replay_without_a_model(gemini: Gemini, moves: list[Json]) -> None:
    result = CliRunner().invoke(app, ["simulate", "--live", "--keep"])
    assert result.exit_code == 1, result.output
    assert result.stdout.startswith('scenarios/ada.yaml: The caller did not hear "never said".\n')
    assert len(moves) == 20
    prompt = moves[0]["systemInstruction"]["parts"][0]["text"]
    for words in ("A table for four tonight.", "The name is Ada.", "You interrupt.", "German"):
        assert words in prompt
    assert "go on to speak" not in said(moves[3]).splitlines()[-3], "they know what they heard, and no more"
    run = load_run(Path("tests/runs/ada.json"))
    assert [turn.webhook.get("text") for turn in run.turns[-20:]] == [f"Sentence {n} of mine" for n in range(1, 21)]
    assert "caller: 20 requests, " in result.stdout
    asked = len(gemini.requests)
    replayed = CliRunner().invoke(app, ["replay", "tests/runs/ada.json"])
    assert replayed.stdout == "tests/runs/ada.json: ok\n"
    assert len(gemini.requests) == asked, "replay needs no model"


def test_they_replay_byte_for_byte(gemini: Gemini, moves: list[Json]) -> None:
    """The same words as in the live call; the same bytes on the wire each time; the same file when recorded anew."""
    setup = setup_of(Settings.load(), live=True)
    held = simulate("ada", load_scenario(Path("scenarios/ada.yaml")), setup, folder=Path("scenarios"))
    assert len(moves) == 20
    run = run_file_of(held, setup)
    assert run
    live = [[one for one in exchange.stream.sent if one[1] == "say"] for exchange in held.conversation.exchanges[1:]]
    recorded = [[one for one in turn.sent if one[1] == "say"] for turn in run.turns[-20:]]
    assert [[words for *_, words in turn] for turn in recorded] == [[words for *_, words in turn] for turn in live]
    file = Path("run.json")
    save_run(run, file)
    first, second = (replay(load_run(file), setup.project) for _ in range(2))
    assert [stream.raw for stream in first.streams] == [stream.raw for stream in second.streams]
    assert sum(len(stream.raw) for stream in first.streams) > 20 * 60
    saved = file.read_bytes()
    for again in (first, second):
        save_run(again.run, file)
        assert file.read_bytes() == saved
    updated = CliRunner().invoke(app, ["replay", "--update", "run.json"])
    assert updated.stdout == "run.json: updated\n"
    assert file.read_bytes() == saved


def test_they_hang_up(gemini: Gemini) -> None:
    moves = iter([{"say": "Hallo"}, {"say": "Tschüss", "hang_up": True}])
    gemini.answer = lambda body: text(json.dumps(next(moves)) if is_caller(body) else "Guten Tag.")
    Path("scenarios/ada.yaml").write_text(
        PERSONA.replace("heard: [never said]", "heard: [Guten Tag], ends: hung up by the caller")
    )
    result = CliRunner().invoke(app, ["simulate", "--live"])
    assert result.exit_code == 0, result.output


def test_a_caller_model_that_talks_nonsense_is_a_sentence(gemini: Gemini) -> None:
    gemini.answer = lambda body: text("Nonsense")
    result = CliRunner().invoke(app, ["simulate", "--live"])
    assert result.exit_code == 1, result.output
    assert result.stdout.startswith(
        "scenarios/ada.yaml: The caller could not be played: google_genai:gemini-3.5-flash-lite did not answer in the"
        ' form it was given: "Nonsense"\n'
    )
