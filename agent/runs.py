"""A run file: one recorded conversation, as JSON that reads well in a diff. These models are its schema.

All times are whole milliseconds. A file is inputs (webhooks, the model's chunks, the tools' results, hang-ups) and
expectations (what the model was shown, which tools were called, every event sent). The expectations are made by
replaying the inputs once, so that a file is in agreement with itself from the start.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

VERSION = 1
_PHONE = re.compile(r"\+\d{7,15}\b")
_NOBODY = "+15550100"


class RunFileError(Exception):
    """Not a run file, or not one this version can read. The text is one sentence."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ModelCall(_Model):
    """One request to the model. `same`, `then`: it was shown the first `same` messages of the request before it,
    and these. tools, common, chunks, ended, ms: see agent/trace.py."""

    same: int = 0
    then: list[dict[str, Any]] = []
    tools: list[str] = []
    common: dict[str, Any] = {}
    chunks: list[list[Any]] = []
    ended: str = "complete"
    ms: int = 0


class ToolCall(_Model):
    """One run of a tool. did: [ms, "say" | "show", value] while it worked. ended: finished, failed, or unknown
    when the recording does not have its end."""

    key: str
    name: str
    arguments: dict[str, Any]
    did: list[tuple[int, str, Any]] = []
    result: str = ""
    ended: Literal["finished", "failed", "unknown"] = "finished"
    ms: int = 0


class HungUp(_Model):
    """The caller's line was dropped after so many events, at this time of the turn."""

    events: int
    ms: int


class Turn(_Model):
    """One webhook and what came of it. at: since the conversation began. sent: [ms, kind, content]."""

    at: int
    webhook: dict[str, Any]
    models: list[ModelCall] = []
    tools: list[ToolCall] = []
    hung_up: HungUp | None = None
    sent: list[tuple[int, str, Any]] = []


class Settings(_Model):
    """What the conversation depended on beside the code. Times in seconds."""

    welcome: str = ""
    apology: str = ""
    turn_timeout: float = 60.0
    first_token: float = 5.0
    max_tool_steps: int = 8
    today: str = ""


class RunFile(_Model):
    """`prompt`: the lines the model was given. `offered`: the tools it had, with description and parameters."""

    format: Literal["voice-run"] = "voice-run"
    version: int = VERSION
    settings: Settings = Field(default_factory=Settings)
    prompt: list[str] = []
    offered: dict[str, Any] = {}
    turns: list[Turn] = []


def load_run(path: Path) -> RunFile:
    """The run in a file. RunFileError for anything else."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunFileError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise RunFileError(f"{path} is not JSON: it is damaged, or something else.") from None
    if not isinstance(fields, dict) or fields.get("format") != "voice-run":
        raise RunFileError(f"{path} is not a run file: it has no format 'voice-run'.")
    version = fields.get("version")
    if version != VERSION:
        raise RunFileError(f"{path} is a run file of version {version}; this program reads version {VERSION}.")
    try:
        return RunFile.model_validate(fields)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        raise RunFileError(f"{path} is a damaged run file: {place}: {fault['msg'].lower()}.") from None


def save_run(run: RunFile, path: Path) -> None:
    """Write it so that there is never half a file: a reader finds the old one, or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(dump_run(run))
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def dump_run(run: RunFile) -> str:
    """The file's text: keys in the schema's order, short lists on one line."""
    return _pretty(run.model_dump(mode="json", exclude_defaults=True) | {"format": run.format, "version": run.version})


def scrubbed(run: RunFile, secrets: Iterable[str]) -> RunFile:
    """The run without phone numbers and without `secrets`, wherever they stand."""
    hidden = [secret for secret in secrets if len(secret) >= 6]
    return RunFile.model_validate(_scrub(run.model_dump(mode="json"), hidden))


def _scrub(value: Any, hidden: list[str]) -> Any:
    if isinstance(value, str):
        for secret in hidden:
            value = value.replace(secret, "***")
        return _PHONE.sub(_NOBODY, value)
    if isinstance(value, list):
        return [_scrub(item, hidden) for item in value]
    if isinstance(value, dict):
        return {key: _scrub(item, hidden) for key, item in value.items()}
    return value


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
