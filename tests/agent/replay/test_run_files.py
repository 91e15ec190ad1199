"""Run files: what is in them, what is taken out, what is refused; and a model's chunks, there and back."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage, message_chunk_to_message
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_google_genai.chat_models import _parse_chat_history
from typer.testing import CliRunner

from agent.llm.load import load_model
from agent.replay import private
from agent.replay import run_file as runs
from agent.replay.export import model_call
from agent.replay.run_file import RunFile, RunFileError, dump_run, load_run, save_run, scrubbed
from agent.turns.trace import ModelCall, chunk_from
from api.cli.main import app
from tests.support.gemini import Gemini, Step, calls, text, thought

MODEL = "gemini-3.5-flash-lite"
TOOL = {"name": "weather", "description": "The weather.", "parameters": {"type": "object", "properties": {}}}
RUN: dict[str, Any] = {
    "format": "voice-run",
    "version": 1,
    "turns": [
        {
            "at": 0,
            "webhook": {"kind": "message", "conversation_id": "c", "turn_id": "t", "text": "Weather?"},
            "models": [{"chunks": [[3, "Sunny"], [40, " today."]]}],
            "sent": [[3, "say", "Sunny"], [40, "say", " today."]],
        }
    ],
}

# Chunks, there and back

ANSWERS: dict[str, Step] = {
    "text": text("Hello there, friend."),
    "signed text": text("Hello there.", signature=True),
    "a thought": thought("Hm.", text("I think so.", signature=True)),
    "a call": calls(("weather", {"city": "Zürich", "days": 3, "exact": 1.5, "more": {"a": [None, True]}})),
    "words and a call": calls(("weather", {"city": "Paris"}), text="Let me see."),
    "a thought and a call": thought("I need the weather.", calls(("weather", {"city": "Paris"}))),
    "parallel calls": calls(("weather", {"city": "Rome"}), ("weather", {"city": "Oslo"})),
    "parallel calls apart": calls(("weather", {"city": "Rome"}), ("weather", {}), apart=True),
    "nothing": text(""),
    "cut at the limit": text("And so", finish="MAX_TOKENS"),
}


def there_and_back(chunks: Sequence[AIMessageChunk]) -> list[AIMessageChunk]:
    """Through the journal's JSON, and through a run file's."""
    kept = json.loads(json.dumps(ModelCall([], [], [(n / 10, c) for n, c in enumerate(chunks)]).to_json()))
    call = runs.RecordedModelCall.model_validate_json(model_call(kept).model_dump_json(exclude_defaults=True))
    assert [chunk[0] for chunk in call.chunks] == [100 * n for n in range(len(chunks))]
    return [chunk_from(chunk, call.common) for chunk in call.chunks]


def whole(chunks: Sequence[AIMessageChunk]) -> AIMessage:
    message = message_chunk_to_message(add_ai_message_chunks(*chunks))
    assert isinstance(message, AIMessage)
    message.id = "t/0"
    return message


def sent_to_gemini(message: AIMessage) -> list[dict[str, Any]]:
    """What the next request has of it."""
    results = [ToolMessage("Sunny.", tool_call_id=call["id"] or "", name=call["name"]) for call in message.tool_calls]
    history = [HumanMessage("Weather?"), message, *results, HumanMessage("And?")]
    _, contents = _parse_chat_history(history, model=MODEL)
    return [content.model_dump(mode="json") for content in contents]


@pytest.mark.parametrize("kind", ANSWERS)
async def test_every_kind_of_chunk_comes_back_as_it_was_and_so_does_the_next_request(gemini: Gemini, kind: str) -> None:
    gemini.script(ANSWERS[kind])
    model = load_model(MODEL, google_api_key="x", google_base_url=gemini.url)
    chunks = [c async for c in model.bind_tools([TOOL]).astream("Hello?") if isinstance(c, AIMessageChunk)]
    back = there_and_back(chunks)
    assert [chunk.text for chunk in back] == [chunk.text for chunk in chunks]
    assert [chunk.tool_call_chunks for chunk in back] == [chunk.tool_call_chunks for chunk in chunks]
    assert whole(back) == whole(chunks)
    assert sent_to_gemini(whole(back)) == sent_to_gemini(whole(chunks))


_words = st.text(max_size=8)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | _words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_words, inner, max_size=2),
    max_leaves=4,
)
_block = st.fixed_dictionaries(
    {"type": st.just("text"), "text": _words, "index": st.integers(0, 2)},
    optional={"extras": st.fixed_dictionaries({"signature": st.sampled_from(["c2ln", "AAAA"])})},
) | st.fixed_dictionaries({"type": st.just("thinking"), "thinking": _words, "index": st.integers(0, 2)})
_call = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["weather", "order"]),
        "args": st.dictionaries(_words, _json, max_size=2).map(json.dumps),
        "id": st.uuids().map(str),
        "index": st.none(),
        "type": st.just("tool_call_chunk"),
    }
)
_usage = st.fixed_dictionaries({name: st.integers(0, 5) for name in ("input_tokens", "output_tokens", "total_tokens")})
_chunk = st.builds(
    AIMessageChunk,
    content=_words | st.lists(_block, max_size=2),
    tool_call_chunks=st.lists(_call, max_size=2),
    additional_kwargs=st.dictionaries(st.sampled_from(["a", "b"]), _words, max_size=2),
    response_metadata=st.sampled_from(
        [{}, {"model_provider": "google_genai"}, {"finish_reason": "STOP", "safety": []}]
    ),
    usage_metadata=st.none() | _usage,
    chunk_position=st.sampled_from([None, "last"]),
)


@given(st.lists(_chunk, min_size=1, max_size=6))
def test_whatever_chunks_a_provider_streams_come_back_as_they_were(chunks: list[AIMessageChunk]) -> None:
    back = there_and_back(chunks)
    for one, other in zip(chunks, back, strict=True):
        assert other.model_dump(exclude={"id"}) == one.model_dump(exclude={"id"})
    assert whole(back) == whole(chunks)


# The file


def written(path: Path, run: Any = RUN, **changes: Any) -> Path:
    path.write_text(json.dumps({**run, **changes}) if isinstance(run, dict) else run)
    return path


def refused(path: Path) -> str:
    with pytest.raises(RunFileError) as error:
        load_run(path)
    sentence = str(error.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence.replace(str(path), "FILE")


def damaged(*path: str | int, value: Any = None, without: bool = False) -> dict[str, Any]:
    """A run with one thing in it changed, or left out."""
    run = json.loads(json.dumps(RUN))
    place: Any = run
    for step in path[:-1]:
        place = place[step]
    if without:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return dict(run)


UNREADABLE = {
    "truncated": (json.dumps(RUN)[:-20], "FILE is not JSON: it is damaged, or something else."),
    "empty": ("", "FILE is not JSON: it is damaged, or something else."),
    "text": ("Hello.", "FILE is not JSON: it is damaged, or something else."),
    "deep": ("[" * 100_000, "FILE is not JSON: it is damaged, or something else."),
    "foreign": ('{"interactions": []}', "FILE is not a run file: it has no format 'voice-run'."),
    "a list": ("[1, 2]", "FILE is not a run file: it has no format 'voice-run'."),
    "newer": ({**RUN, "version": 2}, "FILE is a run file of version 2; this program reads version 1."),
    "no version": (
        damaged("version", without=True),
        "FILE is a run file of version None; this program reads version 1.",
    ),
    "no turns": ({**RUN, "turns": []}, "FILE is a run file without a turn."),
    "a wrong type": (
        damaged("turns", 0, "at", value="soon"),
        "FILE is a damaged run file: turns.0.at: input should be a valid integer, unable to parse string as an"
        " integer.",
    ),
    "a missing key": (
        damaged("turns", 0, "webhook", "kind", without=True),
        "FILE is a damaged run file: turns.0.webhook.kind: field required.",
    ),
    "an unknown key": (
        damaged("turns", 0, "sendt", value=[]),
        "FILE is a damaged run file: turns.0.sendt: extra inputs are not permitted.",
    ),
    "no turn of the webhook": (
        damaged("turns", 0, "webhook", "turn_id", without=True),
        "FILE is a damaged run file: turns.0.webhook.turn_id: field required.",
    ),
    "no time limit": (
        {**RUN, "settings": {"first_token": 0}},
        "FILE is a damaged run file: settings.first_token: input should be greater than 0.",
    ),
}


@pytest.mark.parametrize("fault", UNREADABLE)
def test_a_file_that_is_not_a_run_is_refused_in_one_sentence(tmp_path: Path, fault: str) -> None:
    content, sentence = UNREADABLE[fault]
    assert refused(written(tmp_path / "a.json", content)) == sentence


@pytest.mark.parametrize(
    "chunk", [[], [3], ["soon", "Hello"], [3, 4], [3, "Hello", "special"], [3, "a", {}, 1], "Hello"]
)
def test_a_chunk_that_is_none_is_refused(tmp_path: Path, chunk: Any) -> None:
    run = damaged("turns", 0, "models", 0, "chunks", value=[chunk])
    assert refused(written(tmp_path / "a.json", run)).startswith(
        "FILE is a damaged run file: turns.0.models.0.chunks.0"
    )


def test_a_missing_file_and_a_folder_are_refused_in_one_sentence(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.json") == "FILE cannot be read: No such file or directory."
    assert refused(tmp_path) == "FILE cannot be read: Is a directory."


@pytest.mark.parametrize(
    "options", [[], ["--update"], ["--barge-in", "everywhere"], ["--live-tools"], ["--live-model"]]
)
def test_voice_replay_says_that_sentence_and_nothing_else_and_exits_with_2(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "tools").mkdir()
    path = written(tmp_path / "a.json", "Hello.")
    result = CliRunner().invoke(app, ["replay", str(path), *options])
    assert result.exit_code == 2
    assert result.stderr == f"{path} is not JSON: it is damaged, or something else.\n"
    assert result.stdout == ""


def test_a_file_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    good, bad = written(tmp_path / "good.json"), written(tmp_path / "bad.json", "{}")
    result = CliRunner().invoke(app, ["replay", str(bad), str(good)])
    assert result.exit_code == 2
    assert result.stderr == f"{bad} is not a run file: it has no format 'voice-run'.\n"
    assert result.stdout.startswith(f"{good}: The prompt has changed.\n")


def test_a_run_is_written_in_the_schemas_order_and_read_back_the_same(tmp_path: Path) -> None:
    run = load_run(written(tmp_path / "a.json"))
    save_run(run, tmp_path / "new" / "b.json")
    saved = (tmp_path / "new" / "b.json").read_text()
    assert load_run(tmp_path / "new" / "b.json") == run
    assert dump_run(load_run(tmp_path / "new" / "b.json")) == saved
    assert list(json.loads(saved)) == ["format", "version", "turns"]
    assert saved.endswith("}\n")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["b.json"]


def test_the_order_of_keys_in_a_file_does_not_matter(tmp_path: Path) -> None:
    turned = {name: RUN[name] for name in reversed(RUN)}
    assert dump_run(load_run(written(tmp_path / "a.json", turned))) == dump_run(load_run(written(tmp_path / "b.json")))


def test_lines_are_short_unless_a_text_is_long(tmp_path: Path) -> None:
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    chunks = [[n, f" word{n}", {"usage_metadata": usage}] for n in range(50)]
    run = load_run(written(tmp_path / "a.json", damaged("turns", 0, "models", 0, "chunks", value=chunks)))
    lines = dump_run(run).splitlines()
    assert max(map(len, lines)) <= 120
    assert len([line for line in lines if " word" in line]) == 50


def test_when_writing_fails_the_old_file_is_whole_and_nothing_else_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "a.json")
    before, run = path.read_text(), load_run(path)
    run.prompt = ["new"]

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(RunFileError, match=r"a\.json cannot be written: No space left on device\.$"):
        save_run(run, path)
    assert path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


# What is taken out

CALLER = "+14155550123"


def scrubbed_turn(*secrets: str, **fields: Any) -> tuple[runs.RecordedTurn, str]:
    turn = json.loads(json.dumps(RUN))["turns"][0]
    turn["webhook"] |= fields.pop("webhook", {})
    run = scrubbed(RunFile(turns=[runs.RecordedTurn.model_validate({**turn, **fields})]), secrets)
    return run.turns[0], dump_run(run)


@pytest.mark.parametrize(
    "written",
    ["+14155550123", "+1 415 555 0123", "+1 (415) 555-0123", "(415) 555-0123", "415-555-0123", "415.555.0123",
     "4155550123", "0415 555 0123", "+49 30 1234567", "+49 (0)30 123 45 67", "+442079460958"],
)  # fmt: skip
def test_a_phone_number_is_taken_out_however_it_is_written(written: str) -> None:
    turn, dumped = scrubbed_turn(webhook={"caller": CALLER, "text": f"Call me at {written}, please"})
    assert turn.webhook.get("caller") == "+00000000000"
    assert turn.webhook.get("text") == f"Call me at {re.sub('[0-9]', '0', written)}, please"
    assert not re.search("[2-9]{3}", dumped)


@pytest.mark.parametrize("kept", ["on 2026-11-23 at 19:00", "booking 4711", "1,234,567 people", "12345678", "3+4567"])
def test_other_numbers_stay(kept: str) -> None:
    assert scrubbed_turn(webhook={"text": kept})[0].webhook.get("text") == kept


def test_many_numbers_take_no_longer_than_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many are looked up, in each country; those beyond are taken out without it."""
    looked_up: set[str] = set()
    exists = private._exists

    def noted(text: str, region: str | None) -> bool:
        looked_up.add(text)
        return exists(text, region)

    monkeypatch.setattr(private, "_exists", noted)
    numbers = [f"0{number:09}" for number in range(6_000)]
    left = str(scrubbed_turn(webhook={"text": " ".join([*numbers, *numbers])})[0].webhook.get("text")).split()
    assert len(looked_up) <= private._MOST_LOOKED_UP
    assert left[3] == "0000000003", "no country has it"
    assert set(left[private._MOST_LOOKED_UP : len(numbers)]) == {"0" * 10}


def test_a_number_in_several_chunks_and_events_is_taken_out_of_each() -> None:
    turn, _ = scrubbed_turn(
        models=[{"chunks": [[0, "It is +1415"], [9, "555"], [12, "0123."], [15, " Right?"]]}],
        sent=[[0, "say", "It is +1415"], [9, "say", "555"], [10, "show", {"a": 1}], [12, "say", "0123."]],
    )
    assert [chunk[1] for chunk in turn.models[0].chunks] == ["It is +0000", "000", "0000.", " Right?"]
    assert [event[2] for event in turn.sent] == ["It is +0000", "000", {"a": 1}, "0000."]


def test_a_number_in_several_blocks_or_pieces_of_arguments_is_taken_out_of_each() -> None:
    def block(words: str) -> list[dict[str, Any]]:
        return [{"type": "text", "text": words, "index": 0}]

    def part(args: str) -> dict[str, Any]:
        return {"tool_call_chunks": [{"name": None, "args": args, "id": None, "index": 0, "type": "tool_call_chunk"}]}

    chunks = [
        [0, block("+1415")],
        [1, block("5550123")],
        [2, "", part('{"number": "+1415')],
        [3, "", part('5550123"}')],
    ]
    _, dumped = scrubbed_turn(models=[{"chunks": chunks}])
    assert "1415" not in dumped
    assert "0123" not in dumped
    assert '"args": "0000000\\"}"' in dumped


def test_numbers_and_secrets_are_taken_out_of_tool_calls_and_data_even_as_names() -> None:
    secret = "whsec_0123456789abcdef"
    call = {"key": "t/1", "name": "text", "arguments": {"to": [CALLER]}, "result": f"Sent to {CALLER} with {secret}."}
    did = [[0, "show", {CALLER: secret}], [3, "say", f"Texting {CALLER}."]]
    turn, dumped = scrubbed_turn(secret, tools=[{**call, "did": did}])
    assert turn.tools[0].result == f"Sent to +00000000000 with {'x' * len(secret)}."
    assert turn.tools[0].did[0][2] == {"+00000000000": "x" * len(secret)}
    assert CALLER not in dumped
    assert secret not in dumped


def test_a_run_without_anything_private_is_left_as_it_is() -> None:
    run = RunFile.model_validate(RUN)
    assert scrubbed(run, ["", "short"]) == run
