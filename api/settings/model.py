from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, Field, SecretStr, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode


class ModelSettings(BaseModel):
    """The model"""

    google_api_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("GOOGLE_GENERATIVE_AI_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY"),
        description="The key for Gemini. `GOOGLE_API_KEY` and `GEMINI_API_KEY` are read too, in this order.",
    )
    google_gemini_base_url: str | None = Field(
        default=None, description="Another endpoint that speaks Gemini's API, such as a proxy."
    )
    model: str = Field(
        default="google_genai:gemini-3.5-flash-lite",
        description="Any string that LangChain's `init_chat_model` takes, or `demo`: no language model and no key, only"
        " your tools.",
    )
    model_fallback: str | None = Field(
        default=None, description="The model that is asked when `MODEL` has given no answer twice. Empty: none."
    )
    judge_model: str | None = Field(
        default=None,
        description="The model that judges simulated calls (`judge:` in a scenario), asked at temperature 0. Empty:"
        " `MODEL`.",
    )
    simulator_model: str | None = Field(
        default=None,
        description="The model that plays the caller in simulated calls (`persona:` in a scenario). Empty: `MODEL`.",
    )
    model_thinking: str | None = Field(
        default=None,
        description="How long `MODEL` may think before it answers, as its provider calls it: for Gemini `off`,"
        " `minimal`, `low`, `medium`, `high`, or a number of tokens, depending on the model. Empty: as little as the"
        " model allows. All of that time passes before the first word.",
    )
    model_options: Annotated[dict[str, Any], NoDecode] = Field(
        default={},
        repr=False,  # may hold anything
        description="A JSON object with further arguments for the class of `MODEL`, such as"
        ' `{"max_output_tokens": 500}`. What makes the model think or look things up costs time before the first word;'
        " a limit on length costs none.",
    )
    gemini_fast: bool = Field(
        default=True,
        description="Reads Gemini's stream without building the library's objects for every token. `false` sends"
        " everything through Google's client, which takes several times the CPU.",
    )
    first_token_seconds: float = Field(
        default=5.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds until an answer must have begun, retries and the fallback included; then the caller hears"
        " the apology. An answer that has begun may pause for as long.",
    )

    @field_validator("model_options", mode="before")
    @classmethod
    def _object(cls, value: object) -> object:
        try:
            read = json.loads(value) if isinstance(value, str) else value
        except ValueError:
            read = None
        if not isinstance(read, dict):
            raise PydanticCustomError("json_object", 'It must be a JSON object, such as {"max_output_tokens": 500}')
        return read

    @property
    def google_key(self) -> str | None:
        return self.google_api_key.get_secret_value() if self.google_api_key else None
