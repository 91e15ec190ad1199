"""The record of a conversation: its id, the terms it was authorized with, and its answer that was interrupted last.

It imports no other module of the playground.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from agent.memory import count_words

LIFE = 3600.0  # seconds, of a key and of a session

Id = Annotated[str, Field(min_length=1, max_length=200)]
_NULL_IS_ABSENT = BeforeValidator(lambda value: {} if value is None else value)
Object = Annotated[dict[str, Any], _NULL_IS_ABSENT]
Header = Annotated[str, Field(pattern=r"^[\x20-\x7e]*$", max_length=2000)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", max_length=100)]
Number = Annotated[str | None, Field(max_length=40)]


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


@dataclass(frozen=True)
class Cut:
    """Where an answer is interrupted. played: the beginning of its text that has been played."""

    turn_id: str
    text: str
    played: str

    @property
    def heard(self) -> str:
        return self.played.strip()

    @property
    def context(self) -> dict[str, Any]:
        """What the next message says of it (§2.3)."""
        return {
            "previous_turn_interrupted": True,
            "words_heard": count_words(self.heard),
            "text_heard": self.heard,
            "assistant_turn_id": self.turn_id,
        }

    @property
    def message(self) -> dict[str, Any]:
        """What the page is told. characters: as JavaScript counts them."""
        told = {"type": "playground.heard", "turn_id": self.turn_id, "text": self.heard}
        characters = len(self.played.encode("utf-16-le", "surrogatepass")) // 2
        return {**told, "characters": characters, "words": count_words(self.heard), "of": count_words(self.text)}


@dataclass
class Conversation:
    """terms: those of its newest session. cut: the answer that the next message reports as interrupted."""

    id: str
    terms: Terms
    cut: Cut | None = None
