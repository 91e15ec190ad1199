"""A run file: one recorded conversation, as JSON that reads well in a diff. These models are its schema.

All times are whole milliseconds. A file is inputs (webhooks, the model's chunks, the tools' results, summaries,
hang-ups) and expectations (what the model was shown, which tools were called, every event sent). The expectations are
made by replaying the inputs once, so that a file is in agreement with itself from the start.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Required

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import add_ai_message_chunks
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from agent.json_values import MAX_DEPTH, is_deeper
from agent.replay.scrub import Place, Scrubber
from agent.turns import chunk_from

VERSION = 1
_MAX_DEPTH = MAX_DEPTH + 20  # a frame or a result may have the former, and stands in the file's own levels


class RunFileError(Exception):
    """Not a run file, or not one this version can read. The text is one sentence."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


Chunk = tuple[int, str | list[Any]] | tuple[int, str | list[Any], dict[str, Any]]
Line = str | dict[str, str]  # or one for each language
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class RecordedHeard(TypedDict, total=False):
    """What the caller heard of an interrupted turn. turn_id: none for the one before."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    text: Required[str]
    turn_id: str | None
    kind: Literal["exact", "fragment", "derived"]


class Webhook(TypedDict, total=False):
    """What was asked, in the agent's words. heard: {text, turn_id}. abilities, place, instructions, language: see
    `TurnRequest`."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    kind: Required[Literal["message", "welcome", "data"]]
    conversation_id: Required[str]
    turn_id: Required[str]
    text: str
    caller: str | None
    metadata: dict[str, Any]
    heard: RecordedHeard
    abilities: list[str]
    place: str
    instructions: str
    language: str
    data: Any


class RecordedModelCall(_Model):
    """One request to the model. `same`, `then`: it was shown the first `same` messages of the request before it,
    and these. tools, common, chunks, ended, ms: see agent/turns/trace.py."""

    same: int = 0
    then: list[dict[str, Any]] = []
    tools: list[str] = []
    common: dict[str, Any] = {}
    chunks: list[Chunk] = []
    ended: str = "complete"
    ms: int = 0

    def message(self) -> AIMessageChunk:
        """What the chunks come to."""
        return add_ai_message_chunks(AIMessageChunk(content=""), *(chunk_from(one, self.common) for one in self.chunks))

    @model_validator(mode="after")
    def _is_an_answer(self) -> RecordedModelCall:
        try:
            self.message()
        except (TypeError, ValueError, AttributeError, LookupError) as error:
            raise PydanticCustomError("chunks", "No model gives such chunks") from error
        return self


class RecordedToolCall(_Model):
    """One run of a tool. did: [ms, "say" | "show" | "control", value] while it worked. ended: finished; failed; stopped
    by an interruption or a deadline; unknown when the recording does not have its end. late: it ended after its turn;
    told: the later one that was told of that, if there was one; after: the one before that, if it is not the call's
    own: it did not know yet. Times are since the first call of its step began."""

    key: str
    name: str
    arguments: dict[str, Any]
    did: list[tuple[int, Literal["say", "show", "control"], Any]] = []
    result: str = ""
    ended: Literal["finished", "failed", "stopped", "unknown"] = "finished"
    late: bool = False
    told: str = ""
    after: str = ""
    ms: int = 0


class HungUp(_Model):
    """The caller's line was dropped after so many events, at this time of the turn."""

    events: int
    ms: int


class RecordedSummary(_Model):
    """What took the place of the messages before `until`, a message of the caller's."""

    text: str
    until: str


class RecordedTurn(_Model):
    """One webhook and what came of it. at: since the conversation began. summary: of older turns, taken in by this
    one. checks: by call, what came of its tool's check, {arguments} or {refused}. superseded: a newer one came before
    it was over. sent: [ms, kind, content]. frames: [ms, "in" | "out", frame], what the platform sent and got from this
    request on until the next; empty where its requests and answers say no more than the other fields."""

    at: int
    webhook: Webhook
    summary: RecordedSummary | None = None
    models: list[RecordedModelCall] = []
    tools: list[RecordedToolCall] = []
    checks: dict[str, dict[str, Any]] = {}
    hung_up: HungUp | None = None
    superseded: bool = False
    sent: list[tuple[int, Literal["say", "show", "control"], Any]] = []
    frames: list[tuple[int, Literal["in", "out"], Any]] = []

    @property
    def interrupted(self) -> bool:
        return self.superseded or self.hung_up is not None


class RecordedSettings(_Model):
    """What the conversation depended on beside the code. fallback: whether there was a second model."""

    welcome: Line = ""
    welcome_back: Line = ""
    apology: Line = ""
    ending: Line = "I have to stop there."
    thinking: Line = ""
    language: str = "en"
    turn_timeout: Seconds = 60.0
    first_token: Seconds = 5.0
    fallback: bool = False
    max_tool_steps: int = 8
    today: str = ""


class RunFile(_Model):
    """`platform`: its name, over which the conversation was held; empty: that of the first version. `prompt`: the lines
    the model was given. `offered`: the tools it had, with description and parameters."""

    format: Literal["voice-run"] = "voice-run"
    version: int = VERSION
    platform: str = ""
    settings: RecordedSettings = Field(default_factory=RecordedSettings)
    prompt: list[str] = []
    offered: dict[str, Any] = {}
    turns: list[RecordedTurn] = []


def load_run(path: Path) -> RunFile:
    """The run in a file. RunFileError for anything else."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(fields, ensure_ascii=False).encode()  # fails for half of a surrogate pair, as any later writing
    except OSError as error:
        raise RunFileError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError):
        raise RunFileError(f"{path} is not JSON: it is damaged, or something else.") from None
    if is_deeper(fields, _MAX_DEPTH):
        raise RunFileError(f"{path} is a damaged run file: it is nested too deeply.")
    if not isinstance(fields, dict) or fields.get("format") != "voice-run":
        raise RunFileError(f"{path} is not a run file: it has no format 'voice-run'.")
    version = fields.get("version")
    if version != VERSION:
        raise RunFileError(f"{path} is a run file of version {version}; this program reads version {VERSION}.")
    try:
        run = RunFile.model_validate(fields)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        raise RunFileError(f"{path} is a damaged run file: {place}: {fault['msg'].lower()}.") from None
    if not run.turns:
        raise RunFileError(f"{path} is a run file without a turn.")
    return run


def save_run(run: RunFile, path: Path) -> None:
    """Write it so that there is never half a file: a reader finds the old one, or the new one. RunFileError when
    it cannot be written."""
    try:
        _replace(path, dump_run(run))
    except OSError as error:
        raise RunFileError(f"{path} cannot be written: {error.strerror}.") from None


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)  # readable for its owner alone, as the database is: it has a caller's words
    finally:
        Path(name).unlink(missing_ok=True)  # unless it has the other name


def dump_run(run: RunFile) -> str:
    """The file's text: keys in the schema's order, short lists on one line."""
    fields = run.model_dump(mode="json", exclude_defaults=True)
    return _pretty({"format": run.format, "version": run.version, **fields}) + "\n"


def scrubbed(run: RunFile, secrets: Iterable[str]) -> RunFile:
    """The run without `secrets`, phone numbers, e-mail addresses, cards and bank accounts, wherever they stand."""
    fields = run.model_dump(mode="json")
    callers = [caller for turn in run.turns if (caller := turn.webhook.get("caller"))]
    scrubber = Scrubber(secrets, callers)
    for turn in fields["turns"]:
        for places in _streams(turn):
            scrubber.clean_together(places)
    return RunFile.model_validate(scrubber.clean(fields))


def _streams(turn: Any) -> Iterator[list[Place]]:
    """Where the pieces stand that make one text only together: what was said, an answer, the arguments in it."""
    yield [(event, 2) for event in turn["sent"] if event[1] == "say"]
    for chunks in (call["chunks"] for call in turn["models"]):
        yield [place for chunk in chunks for place in _texts(chunk)]
        special = [chunk[2] for chunk in chunks if len(chunk) > 2]
        called = [part for fields in special for part in fields.get("tool_call_chunks") or ()]
        yield [(part, "args") for part in called if isinstance(part.get("args"), str)]


def _texts(chunk: Any) -> list[Place]:
    if isinstance(chunk[1], str):
        return [(chunk, 1)]
    return [(block, "text") for block in chunk[1] if isinstance(block, dict) and isinstance(block.get("text"), str)]


def _pretty(value: Any, indent: str = "") -> str:
    """JSON with one line for whatever fits into one."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + len(indent) <= 110 or not isinstance(value, dict | list) or not value:
        return line
    inner = indent + " "
    if isinstance(value, dict):
        parts = [f"{inner}{json.dumps(key, ensure_ascii=False)}: {_pretty(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(parts) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + _pretty(item, inner) for item in value) + f"\n{indent}]"
