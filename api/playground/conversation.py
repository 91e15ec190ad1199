"""The record of a conversation: its id, the terms of its newest session, and the answer that was interrupted last.

This module is below the other modules of the playground, and imports none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from agent.memory import count_words
from api.platforms import PlatformClient
from api.platforms.layercode import interruption_context

WEBHOOKS = "layercode"  # the wire that is no platform's client
SESSION_SECONDS = 3600.0  # the longest life of a session key, and of a session

Id = Annotated[str, Field(min_length=1, max_length=200)]
_NULL_IS_ABSENT = BeforeValidator(lambda value: {} if value is None else value)
Object = Annotated[dict[str, Any], _NULL_IS_ABSENT]
Header = Annotated[str, Field(pattern=r"^[\x20-\x7e]*$", max_length=2000)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", max_length=100)]
Number = Annotated[str | None, Field(max_length=40)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, allow_inf_nan=False)


class Transcription(_Model):
    """Turn taking, as Layercode's agent configuration has it."""

    trigger: Literal["automatic", "push_to_talk"] = "automatic"
    can_interrupt: bool = True


class NetworkFaults(_Model):
    """Faults that are simulated to test a backend.

    duplicates: the share of webhooks that are sent twice, 0 to 1. delay_ms: the shortest and the longest delay of a
    webhook. recording: whether `session.update` follows `session.end`, as after a recorded session.
    """

    duplicates: float = Field(default=0.0, ge=0, le=1)
    delay_ms: tuple[float, float] = (0.0, 0.0)
    recording: bool = False

    @model_validator(mode="after")
    def _delays_in_order(self) -> NetworkFaults:
        low, high = self.delay_ms
        if not 0 <= low <= high <= 60_000:
            raise ValueError("delay_ms should be [low, high], at most 60000")
        return self


class SessionConfig(_Model):
    """The `config` of an authorization. `playground` is an addition of this stand-in."""

    transcription: Transcription = Field(default_factory=Transcription)
    vad: Object = {}
    playground: NetworkFaults = Field(default_factory=NetworkFaults)


class SessionTerms(_Model):
    """The body of an authorization: the settings of the session, and what its webhooks carry. wire: over which the
    conversation is held, by its name in CLIENTS; an addition of this stand-in."""

    wire: Literal["layercode", "relay", "speech-engine", "completions"] = "layercode"
    agent_id: Id = "local"
    conversation_id: Id | None = None
    config: Annotated[SessionConfig, _NULL_IS_ABSENT] = Field(default_factory=SessionConfig)
    custom_metadata: Object = {}
    metadata: Object = {}
    custom_headers: Annotated[dict[HeaderName, Header], _NULL_IS_ABSENT] = {}
    from_phone_number: Number = None
    to_phone_number: Number = None

    @property
    def faults(self) -> NetworkFaults:
        return self.config.playground


@dataclass(frozen=True)
class InterruptedAnswer:
    """An answer at its interruption. text: as much of it as had arrived. played: the part of it that was played."""

    turn_id: str
    text: str
    played: str

    @property
    def heard(self) -> str:
        return self.played.strip()

    @property
    def context(self) -> dict[str, Any]:
        """The `interruption_context` of the next message's webhook (§2.3)."""
        return interruption_context(self.turn_id, self.heard, count_words(self.heard))

    @property
    def message(self) -> dict[str, Any]:
        """The `playground.heard` message for the page. characters: in UTF-16 units, which JavaScript counts."""
        return {
            "type": "playground.heard",
            "turn_id": self.turn_id,
            "text": self.heard,
            "characters": len(self.played.encode("utf-16-le", "surrogatepass")) // 2,
            "words": count_words(self.heard),
            "of": count_words(self.text),
        }


@dataclass
class Conversation:
    """terms: those of its newest session. interrupted: the answer that the next message reports as interrupted.
    call: the caller's side of it on its wire, once there is one; None on Layercode's."""

    id: str
    terms: SessionTerms
    interrupted: InterruptedAnswer | None = None
    call: PlatformClient | None = None
