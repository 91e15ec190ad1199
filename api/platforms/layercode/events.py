"""Layercode's webhooks as models (protocol sheet §1, §2).

    parse(body) -> Message | SessionStart | Data | SessionUpdate | SessionEnd | Unknown

Lenient where a live call would suffer: unknown keys and types, absent or null extras, numbers as int, float
or text, and the bodies of generation 1. Strict about what nothing works without: the type, a conversation,
the turn and the text of a message.
Too long a text is cut, too much metadata is left out; an id of more than 200 characters is none.

Fields that are private (words, phone numbers, metadata) are left out of a model's repr, and so out of logs.
"""

from __future__ import annotations

import json
import logging
import math
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from agent.json_values import MAX_DEPTH, replace_surrogates
from api.platforms.metadata import Metadata

log = logging.getLogger(__name__)

MAX_ID = 200  # characters
MAX_TEXT = 20_000  # characters: twenty minutes of speech. What is longer is cut, as the caller shall have an answer
MAX_LINES = 5_000  # of a transcript
_SHOWN_ERRORS = 5


class BadWebhook(Exception):
    """Not a webhook. The text names the fields at fault and none of their values, so it may be sent back."""


def _id(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _absent_if_empty(value: object) -> object:
    return None if value == "" else value


def _empty_if_null(value: object) -> object:
    return "" if value is None else value


def _lines(value: object) -> object:
    """A transcript's newest lines that say something."""
    if value is None:
        return []
    if not isinstance(value, list):
        return value
    lines = [item for item in value if isinstance(item, BaseModel) or (isinstance(item, dict) and item.get("text"))]
    return lines[-MAX_LINES:]


Id = Annotated[str, BeforeValidator(_id), Field(min_length=1, max_length=MAX_ID)]
OptionalId = Annotated[Id | None, BeforeValidator(_absent_if_empty)]


Text = Annotated[str, BeforeValidator(_empty_if_null)]
TextChunk = Annotated[str, AfterValidator(lambda words: words[:MAX_TEXT])]
Number = Annotated[str, Field(max_length=MAX_ID)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)

    @field_validator("*", mode="wrap")
    @classmethod
    def _lenient(cls, value: Any, validate: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        """An extra of an odd shape counts as absent: it must not cost the caller the turn."""
        try:
            return validate(value)
        except ValidationError:
            field = cls.model_fields[info.field_name or ""]
            if field.is_required():
                raise
            return field.get_default(call_default_factory=True)


class Interruption(_Model):
    """What the caller heard of the assistant's preceding turn before cutting it (§2.3).

    `text_heard` is "" when nothing was heard and None when Layercode did not say. `assistant_turn_id` may
    name a turn that nobody here remembers.
    """

    previous_turn_interrupted: bool | None = None
    assistant_turn_id: OptionalId = None
    text_heard: TextChunk | None = Field(default=None, repr=False)


def _only_if_interrupted(value: Interruption | None) -> Interruption | None:
    return value if value and value.previous_turn_interrupted else None


class TranscriptLine(_Model):
    """`timestamp` in epoch milliseconds."""

    role: Text = ""
    text: Text = Field(default="", repr=False)
    timestamp: float | None = None


class _Session(_Model):
    """What every webhook has. `conversation_id` is stable; `session_id` is new at each reconnect (§1)."""

    conversation_id: Id
    session_id: OptionalId = None
    turn_id: OptionalId = None
    from_phone_number: Number | None = Field(default=None, repr=False)
    to_phone_number: Number | None = Field(default=None, repr=False)
    custom_metadata: Metadata = Field(default_factory=dict, repr=False)
    metadata: Metadata = Field(default_factory=dict, repr=False)


class Message(_Session):
    """The caller said something. Answered as SSE."""

    type: Literal["message"]
    turn_id: Id
    text: TextChunk = Field(repr=False)
    interruption_context: Annotated[Interruption | None, AfterValidator(_only_if_interrupted)] = None


class SessionStart(_Session):
    """The agent may speak first; `welcome` is the same under another name (§2). Answered as SSE."""

    type: Literal["session.start", "welcome"]


class Data(_Session):
    """The browser sent JSON. Answered as JSON, beside whatever turn is running."""

    type: Literal["data"]
    data: Any = Field(default=None, repr=False)


class SessionUpdate(_Session):
    """How the recording went. `recording_status` is completed or failed; `recording_duration` in seconds."""

    type: Literal["session.update"]
    recording_status: str | None = None
    recording_url: str | None = Field(default=None, repr=False)
    recording_duration: float | None = None
    error_message: str | None = Field(default=None, repr=False)


class SessionEnd(_Session):
    """The session is over. `duration` and `latency` in ms; `recording_status` is enabled or disabled."""

    type: Literal["session.end"]
    agent_id: OptionalId = None
    started_at: str | None = None
    ended_at: str | None = None
    duration: float | None = None
    transcription_duration_seconds: float | None = None
    tts_duration_seconds: float | None = None
    latency: float | None = None
    ip_address: str | None = Field(default=None, repr=False)
    country_code: str | None = None
    recording_status: str | None = None
    transcript: Annotated[list[TranscriptLine], BeforeValidator(_lines)] = Field(default_factory=list, repr=False)


class Unknown(_Model):
    """A type this version has not heard of. To be answered with 200 and otherwise ignored."""

    type: str = Field(min_length=1, max_length=MAX_ID)


Webhook = Message | SessionStart | Data | SessionUpdate | SessionEnd | Unknown

_MODELS: dict[str, type[Webhook]] = {
    "message": Message,
    "session.start": SessionStart,
    "welcome": SessionStart,
    "data": Data,
    "session.update": SessionUpdate,
    "session.end": SessionEnd,
}
_GENERATION_1 = {"MESSAGE": "message", "SESSION_START": "session.start"}


def parse(body: bytes) -> Webhook:
    """The webhook in `body`, whose signature has been verified already; else BadWebhook."""
    fields = _modern(_read(body))
    kind = fields.get("type")
    model = _MODELS.get(kind, Unknown) if isinstance(kind, str) else Unknown
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise BadWebhook(_explain(error)) from None


def _read(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body.decode(), parse_float=_finite, parse_constant=_no_constant)
    except RecursionError:
        raise BadWebhook("the body is nested too deeply") from None
    except UnicodeDecodeError:
        raise BadWebhook("the body is not UTF-8") from None
    except ValueError:  # broken JSON, or an integer of more digits than Python reads
        raise BadWebhook("the body is not JSON") from None
    if not isinstance(value, dict):
        raise BadWebhook("the body is not a JSON object")
    return {replace_surrogates(key): _storable(item, 1) for key, item in value.items()}


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise BadWebhook("the body holds a number that is out of range")
    return number


def _no_constant(_name: str) -> None:
    raise BadWebhook("the body is not JSON: NaN and Infinity are no JSON numbers")


def _storable(value: Any, depth: int) -> Any:
    """The value without lone surrogates, which JSON can spell (`\\ud800`) and no database can store."""
    if depth > MAX_DEPTH:
        raise BadWebhook("the body is nested too deeply")
    if isinstance(value, str):
        return replace_surrogates(value)
    if isinstance(value, list):
        return [_storable(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {replace_surrogates(key): _storable(item, depth + 1) for key, item in value.items()}
    return value


def _modern(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields under today's names: in generation 1 `session_id` was the stable one (§1)."""
    kind = fields.get("type")
    renamed = _GENERATION_1.get(kind) if isinstance(kind, str) else None
    connection = fields.get("connection_id")
    fields = {**fields, "type": renamed} if renamed else fields
    if fields.get("conversation_id") is None and (renamed or connection is not None):
        return {**fields, "conversation_id": fields.get("session_id"), "session_id": connection}
    return fields


def _explain(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [f"{'.'.join(map(str, fault['loc']))}: {_lower(fault['msg'])}" for fault in faults]
    return "; ".join(lines[:_SHOWN_ERRORS])


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
