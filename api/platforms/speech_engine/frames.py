"""Speech Engine's frames, JSON text in both directions.

parse(text) -> Init | Transcript | Ping | Close | Fault | None
response(...), PONG -> str
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from api.platforms.sockets import read_frame

MAX_TEXT = 20_000  # characters; what is longer is cut
_MAX_ID = 200
_NEWEST = 20  # lines of the history that are looked at
PONG = json.dumps({"type": "pong"})


class _Frame(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class Init(_Frame):
    type: Literal["init"]
    conversation_id: str = Field(min_length=1, max_length=_MAX_ID)


def _lines(value: object) -> object:
    """The newest lines of the whole history that can be understood."""
    lines = value[-_NEWEST:] if isinstance(value, list) else []
    return [line for line in lines if isinstance(line, dict) and isinstance(line.get("role"), str)]


class Line(_Frame):
    """What somebody has said. role: `user` or `agent`."""

    role: str
    content: Annotated[str, BeforeValidator(lambda value: value[:MAX_TEXT] if isinstance(value, str) else "")] = ""


class Transcript(_Frame):
    """The user has spoken. event_id: rises; the same again is a retry."""

    type: Literal["user_transcript"]
    event_id: int
    lines: Annotated[list[Line], BeforeValidator(_lines)] = Field(
        default=[], validation_alias="user_transcript", repr=False
    )

    @property
    def text(self) -> str:
        """What the user has said last."""
        return next((line.content for line in reversed(self.lines) if line.role == "user"), "")

    @property
    def heard(self) -> str:
        """The agent's line before that: as it was heard, if the engine cuts it at an interruption."""
        before = self.lines[-2] if len(self.lines) > 1 else None
        return before.content if before and before.role == "agent" else ""


class Ping(_Frame):
    type: Literal["ping"]


class Close(_Frame):
    type: Literal["close"]


class Fault(_Frame):
    type: Literal["error"]
    message: Annotated[str, BeforeValidator(lambda value: str(value)[:MAX_TEXT])] = Field(default="", repr=False)


Frame = Init | Transcript | Ping | Close | Fault

_FRAMES: TypeAdapter[Frame] = TypeAdapter(Annotated[Frame, Field(discriminator="type")])


def parse(data: str) -> Frame | None:
    """None for a type that is not known here. BadFrame for what is no frame."""
    return read_frame(data, _FRAMES)


def response(content: str, event_id: int, *, is_final: bool) -> str:
    frame = {"type": "agent_response", "content": content, "event_id": event_id, "is_final": is_final}
    return json.dumps(frame, ensure_ascii=False)
