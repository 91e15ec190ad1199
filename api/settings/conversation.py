from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

Line = Annotated[str | dict[str, str], NoDecode]


class ConversationSettings(BaseModel):
    """The conversation"""

    default_language: str = Field(
        default="en",
        description="The language of fixed lines, as a tag such as `de` or `pt-BR`, while that of a conversation is not"
        " known. The messages below may be JSON objects with a text for each language, such as"
        ' `{"en": "Hello.", "de": "Hallo."}`; the defaults are known in English, German, French, Spanish and Japanese.',
    )
    welcome_message: Line = Field(
        default="", description="Said at the start of a new conversation. Empty: the caller speaks first."
    )
    welcome_back_message: Line = Field(
        default="Welcome back. What can I do for you?",
        description="Said at the start of a new session of a conversation in which the caller has spoken before, if"
        " there is a `WELCOME_MESSAGE`.",
    )
    apology_message: Line = Field(
        default="Sorry, something went wrong on my side. Please say that again.",
        description="Said when there is no answer from the model, as a caller never gets silence.",
    )
    ending_message: Line = Field(
        default="I have to stop there.",
        description="Said after an answer that the model has begun and cannot go on with.",
    )
    thinking_message: Line = Field(
        default="One moment.",
        description="Said once in a turn when the model has been thinking for a while. Empty: nothing is said.",
    )
    idle_seconds: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="On a phone: seconds in which nobody speaks and nothing is being done, after which the caller hears"
        " `IDLE_MESSAGE`. Empty: silence is waited for.",
    )
    idle_message: Line = Field(
        default="Are you still there?", description="Said after `IDLE_SECONDS` of silence, and after as many again."
    )
    idle_reminders: int = Field(
        default=2,
        ge=0,
        le=20,
        description="How often `IDLE_MESSAGE` is said in a row; after it `IDLE_GOODBYE_MESSAGE`, and the call ends.",
    )
    idle_goodbye_message: Line = Field(
        default="I am hanging up now. Goodbye.", description="Said before a call with a silent caller is ended."
    )
    system_prompt_file: Path | None = Field(
        default=None,
        description="A prompt to use instead of `agent/prompt.md`. `{today}` in it becomes the date.",
    )
    turn_timeout_seconds: float = Field(
        default=60.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds that a turn may last, its tools included. After that it ends with the apology.",
    )
    max_tool_steps: int = Field(
        default=8,
        ge=1,
        le=50,
        description="How often the model may call tools in one turn before it must answer, from 1 to 50.",
    )

    @field_validator(
        "welcome_message", "welcome_back_message", "apology_message", "ending_message", "thinking_message",
        "idle_message", "idle_goodbye_message",
        mode="before",
    )  # fmt: skip
    @classmethod
    def _in_languages(cls, value: object) -> object:
        if not isinstance(value, str) or not value.startswith("{"):
            return value
        try:
            texts = json.loads(value)
        except ValueError:
            raise PydanticCustomError("texts", "It begins like a JSON object, and is none") from None
        from agent.languages import fault_in  # loads LangChain, which `voice --help` does without

        if fault := fault_in(texts):
            raise PydanticCustomError("texts", f"It is a JSON object with a text for each language: {fault}")
        return texts

    @field_validator("apology_message")
    @classmethod
    def _can_be_heard(cls, value: str | dict[str, str]) -> str | dict[str, str]:
        from agent.languages import all_of
        from agent.speech import speakable

        if not all(speakable(line) for line in all_of(value)):
            raise PydanticCustomError("apology", "There is nothing in it that can be spoken")
        return value

    @field_validator("default_language")
    @classmethod
    def _tag(cls, value: str) -> str:
        from agent.languages import tag_of

        if not (tag := tag_of(value)):
            raise PydanticCustomError("language", "It must be a language tag such as de or pt-BR")
        return tag

    def apology_in(self, language: str) -> str:
        """language: empty for the default one."""
        from agent.languages import own_line

        return own_line(self.apology_message, language or self.default_language)
