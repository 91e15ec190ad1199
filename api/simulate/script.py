"""The answers of a scripted model, as a model gives them: chunk by chunk, at their times."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from agent.replay import ScriptedModel
from agent.replay import run_file as runs
from api.simulate.scenario import ModelAnswer, Recording, Scenario

_MS_PER_WORD = 40  # as quick models write


def model_of(scenario: Scenario, folder: Path) -> ScriptedModel:
    """The scenario's model. folder: where its file is. RunFileError when a recording cannot be read."""
    if isinstance(scenario.model, Recording):
        run = runs.load_run(folder / scenario.model.recording)
        return ScriptedModel(script=deque(call for turn in run.turns for call in turn.models))
    numbers, answers = count(1), scenario.model or []
    return ScriptedModel(script=deque(_recorded(answer, numbers) for answer in answers))


def _recorded(answer: ModelAnswer, numbers: count[int]) -> runs.RecordedModelCall:
    began = round(answer.after * 1000)
    if answer.fails:
        return runs.RecordedModelCall(ended="ConnectError", ms=began)
    chunks: list[Any] = word_chunks(answer.say, began, _MS_PER_WORD)
    at = chunks[-1][0] if chunks else began
    if answer.calls:
        chunks.append([at, "", call_chunks(answer.calls, numbers)])
    return runs.RecordedModelCall(chunks=chunks, ms=at)


def word_chunks(text: str, began: int = 0, ms_per_word: int = 0) -> list[Any]:
    """A chunk for each word."""
    return [[began + number * ms_per_word, word] for number, word in enumerate(re.findall(r"\s*\S+", text))]


def call_chunks(calls: Sequence[tuple[str, dict[str, Any]]], numbers: count[int]) -> dict[str, Any]:
    """What a chunk has that makes these calls. numbers: for their ids, which differ all through a conversation."""
    made = [
        {"name": name, "args": json.dumps(arguments), "id": f"call-{next(numbers)}", "index": index,
         "type": "tool_call_chunk"}
        for index, (name, arguments) in enumerate(calls)
    ]  # fmt: skip
    return {"tool_call_chunks": made}
