"""Who may talk: session keys, and the conversations they belong to (protocol sheet §6.1)."""

from __future__ import annotations

import json
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

if TYPE_CHECKING:
    from api.playground.session import Session

LIFE = 3600.0  # seconds, of a key and of a session
_MOST = 1000  # conversations that are known; of more, those longest unused are forgotten

# What the platform sends to the browser's voice detection; the stand-in itself reads none of it.
_VAD = {
    "enabled": True, "gate_audio": True, "buffer_frames": 10, "model": "v5", "positive_speech_threshold": 0.15,
    "negative_speech_threshold": 0.05, "redemption_frames": 4, "min_speech_frames": 2, "pre_speech_pad_frames": 0,
    "frame_samples": 512,
}  # fmt: skip

Id = Annotated[str, Field(min_length=1, max_length=200)]
_NULL_IS_ABSENT = BeforeValidator(lambda value: {} if value is None else value)
Object = Annotated[dict[str, Any], _NULL_IS_ABSENT]
Header = Annotated[str, Field(pattern=r"^[\x20-\x7e]*$", max_length=2000)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", max_length=100)]
Number = Annotated[str | None, Field(max_length=40)]


class BadTerms(Exception):
    """The body of an authorization cannot be used. The text names the field."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, allow_inf_nan=False)


class Transcription(_Model):
    trigger: Literal["automatic", "push_to_talk"] = "automatic"
    can_interrupt: bool = True


class Trial(_Model):
    """How a backend's nerves are tried. duplicates: the share of webhooks that are sent twice. delay_ms: from, to.
    recording: a session ends with `session.update` too."""

    duplicates: float = Field(default=0.0, ge=0, le=1)
    delay_ms: tuple[float, float] = (0.0, 0.0)
    recording: bool = False

    @model_validator(mode="after")
    def _in_order(self) -> Trial:
        low, high = self.delay_ms
        if not 0 <= low <= high <= 60_000:
            raise ValueError("delay_ms should be [low, high], at most 60000")
        return self


class Config(_Model):
    transcription: Transcription = Field(default_factory=Transcription)
    vad: Object = {}
    playground: Trial = Field(default_factory=Trial)


class Terms(_Model):
    """What was authorized: the session's settings, and what its webhooks carry."""

    agent_id: Id = "local"
    conversation_id: Id | None = None
    config: Annotated[Config, _NULL_IS_ABSENT] = Field(default_factory=Config)
    custom_metadata: Object = {}
    metadata: Object = {}
    custom_headers: Annotated[dict[HeaderName, Header], _NULL_IS_ABSENT] = {}
    from_phone_number: Number = None
    to_phone_number: Number = None

    @property
    def trial(self) -> Trial:
        return self.config.playground


@dataclass
class Conversation:
    """cut: what the next message says of the answer that was interrupted. session: the socket that is open."""

    id: str
    terms: Terms
    key: str
    expires: float
    cut: dict[str, Any] | None = None
    session: Session | None = field(default=None, repr=False)


class Sessions:
    """The newest key of each conversation. `clock`: seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._conversations: dict[str, Conversation] = {}
        self._keys: dict[str, Conversation] = {}

    def authorize(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The platform's answer. A key that the conversation had before is void. BadTerms: 400."""
        try:
            json.dumps(fields, allow_nan=False)  # 1e999 is read as infinity
            terms = Terms.model_validate(fields)
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            raise BadTerms(f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].lower()}") from None
        except (ValueError, RecursionError):
            raise BadTerms("The body cannot be sent on as JSON.") from None
        id_ = terms.conversation_id or f"conv_{uuid.uuid4().hex}"
        key, expires = f"lc_sesskey_{secrets.token_urlsafe(24)}", self._clock() + LIFE
        known = self._conversations.pop(id_, None)
        if known:
            del self._keys[known.key]
            known.terms, known.key, known.expires = terms, key, expires
        self._conversations[id_] = self._keys[key] = known or Conversation(id_, terms, key, expires)
        self._forget()
        return {"client_session_key": key, "conversation_id": id_, "config": _shown(terms.config)}

    def find(self, key: str) -> Conversation | None:
        """The conversation of a key that is still good."""
        conversation = self._keys.get(key)
        return conversation if conversation and self._clock() < conversation.expires else None

    @property
    def open(self) -> list[Session]:
        return [one.session for one in self._conversations.values() if one.session]

    def _forget(self) -> None:
        idle = (one for one in list(self._conversations.values()) if one.session is None)
        for conversation in idle:
            if len(self._conversations) <= _MOST:
                return
            del self._conversations[conversation.id], self._keys[conversation.key]


def _shown(config: Config) -> dict[str, Any]:
    transcription = config.transcription.model_dump()
    automatic = {"automatic": config.transcription.trigger == "automatic"}
    return {"transcription": {**transcription, **automatic}, "vad": {**_VAD, **config.vad}}
