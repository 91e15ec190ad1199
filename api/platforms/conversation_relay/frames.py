"""ConversationRelay's frames, JSON text in both directions.

    parse(text) -> Setup | Prompt | Interrupt | Dtmf | Info | Fault | None
    text(...), end(...), send_digits(...) -> str

Lenient where a live call would suffer: every field may be missing, numbers come as text or decimals, unknown types are
None. Fields that hold words or numbers are left out of a model's repr, and so out of logs.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from api.platforms.metadata import Metadata
from api.platforms.sockets import read_frame

MAX_TEXT = 20_000  # characters; what is longer is cut
_MAX_ID = 200


def _text(value: object) -> object:
    return str(value)[:MAX_TEXT] if isinstance(value, str | int | float) else ""


def _flag(value: object) -> object:
    return value is not False and value != "false"


Text = Annotated[str, BeforeValidator(_text)]
Id = Annotated[str, BeforeValidator(lambda value: value[:_MAX_ID] if isinstance(value, str) else "")]


class _Frame(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class Setup(_Frame):
    """The first frame. call: what names the call on every reconnect. session: new with each socket."""

    type: Literal["setup"]
    call: Id = Field(default="", validation_alias=AliasChoices("callSid", "callSessionId", "callControlId"))
    session: Id = Field(default="", validation_alias="sessionId")
    from_: Id = Field(default="", validation_alias="from", repr=False)
    parameters: Metadata = Field(default_factory=dict, validation_alias="customParameters", repr=False)


class Prompt(_Frame):
    """What the caller said. last: not so while it is a guess that may change."""

    type: Literal["prompt"]
    text: Text = Field(default="", alias="voicePrompt", repr=False)
    lang: Id = ""
    last: Annotated[bool, BeforeValidator(_flag)] = True


class Interrupt(_Frame):
    """The caller spoke into an answer. heard: the words that were spoken since some point, up to then."""

    type: Literal["interrupt"]
    heard: Annotated[str | None, BeforeValidator(lambda value: None if value is None else _text(value))] = Field(
        default=None, alias="utteranceUntilInterrupt", repr=False
    )


class Dtmf(_Frame):
    type: Literal["dtmf"]
    digit: Id = Field(default="", repr=False)


class Info(_Frame):
    """`agentSpeaking` on or off, and others; only where the TwiML asks for it."""

    type: Literal["info"]
    name: Id = ""
    value: Text = Field(default="", repr=False)


class Fault(_Frame):
    """The platform could not use something of ours."""

    type: Literal["error"]
    description: Text = Field(default="", repr=False)


Frame = Setup | Prompt | Interrupt | Dtmf | Info | Fault

_FRAMES: TypeAdapter[Frame] = TypeAdapter(Annotated[Frame, Field(discriminator="type")])


def parse(data: str) -> Frame | None:
    """None for a type that is not known here. BadFrame for what is no frame."""
    return read_frame(data, _FRAMES)


def kept(frame: Frame) -> dict[str, Any]:
    """The frame as the platform sent it, as far as it is used here: for replay."""
    return frame.model_dump(by_alias=True, exclude_defaults=True) | {"type": frame.type}


def text(token: str, *, last: bool) -> str:
    return json.dumps({"type": "text", "token": token, "last": last}, ensure_ascii=False)


def send_digits(digits: str) -> str:
    return json.dumps({"type": "sendDigits", "digits": digits})


def end(handoff: dict[str, Any] | None = None) -> str:
    """handoff: what the action callback gets back, as a string of JSON."""
    frame: dict[str, Any] = {"type": "end"}
    return json.dumps({**frame, "handoffData": json.dumps(handoff)} if handoff else frame)
