"""The one place that reads the environment: variables first, then `.env`. `.env.example` explains each.

Tools have settings of their own, which they read when they are called; what stands in `.env` is exported for
them, and for libraries such as LangSmith's.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Annotated, Literal

from dotenv import load_dotenv
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

_PREFIX = "whsec_"
_SHORTEST = 8  # characters of a secret, after its prefix
_WORDS = (
    "your|my|our|the|this|that|here|it|me|some|any|new|real|actual|dummy|demo|sample|example|test|testing|dev|local|"
    "super|placeholder|change|replace|insert|enter|add|put|paste|fill|set|copy|use|with|from|to|by|in|of|is|and|not|"
    "todo|fixme|tbd|none|null|nil|undefined|default|value|token|password|string|secret|key|api|webhook|hook|signing|"
    "layercode|agent|dashboard|voice|whsec|env|please|for|now"
)
# All of it must be words, one character again and again, or in brackets: no random secret is, whatever it contains.
_PLACEHOLDER = re.compile(
    rf"(?:{_WORDS}|x|[-_.,:/ ])+\d{{0,4}}[!?.]*|(.)\1*|<.*>|\[.*\]|\(.*\)|\$?\{{.*\}}|%.*%|.*(?:\.\.\.|…).*",
    re.DOTALL,
)


class NotConfigured(Exception):
    """The process must not start. `problems`: one sentence each, for the operator."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        populate_by_name=True,
    )

    layercode_webhook_secret: SecretStr = SecretStr("")
    layercode_api_key: SecretStr | None = None
    layercode_api_url: str = "https://api.layercode.com/v1"
    layercode_agent_id: str | None = None

    google_api_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("GOOGLE_GENERATIVE_AI_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY"),
    )
    google_gemini_base_url: str | None = None
    model: str = "google_genai:gemini-3.5-flash-lite"
    model_fallback: str | None = None
    gemini_fast: bool = True
    first_token_seconds: float = Field(default=5.0, gt=0, allow_inf_nan=False)

    database_url: str = Field(default="sqlite:///voice.db", repr=False)  # may hold a password
    retention_days: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    tools_dir: Path = Path("tools")
    mcp_servers: Path | None = None
    record_runs: Path | None = None

    welcome_message: str = ""
    apology_message: str = "Sorry, something went wrong on my side. Please say that again."
    system_prompt_file: Path | None = None
    turn_timeout_seconds: float = Field(default=60.0, gt=0, allow_inf_nan=False)
    max_tool_steps: int = Field(default=8, ge=1, le=50)
    max_turns: int = Field(default=500, ge=1)
    drain_seconds: float = Field(default=20.0, ge=0, allow_inf_nan=False)
    authorize_per_minute: int = Field(default=30, ge=1)
    forwarded_allow_ips: str = "127.0.0.1,::1"
    metrics_token: SecretStr | None = None

    cors_origins: Annotated[list[str], NoDecode] = []
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["plain", "json"] = "plain"

    @field_validator("*", mode="before")
    @classmethod
    def _strip(cls, value: object) -> object:
        return value.strip() if isinstance(value, str) else value

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @classmethod
    def load(cls) -> Settings:
        """From the environment and `.env`. NotConfigured names each variable that cannot be understood."""
        try:
            load_dotenv(".env")
            return cls()
        except ValidationError as error:
            raise NotConfigured(
                *(f"{str(fault['loc'][0]).upper()}: {fault['msg']}." for fault in error.errors())
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise NotConfigured(f"The file .env cannot be read: {error}.") from None

    @property
    def google_key(self) -> str | None:
        return self.google_api_key.get_secret_value() if self.google_api_key else None

    @property
    def webhook_secret(self) -> str:
        """The secret that requests are signed with. NotConfigured when it would let anybody in."""
        secret = self.layercode_webhook_secret.get_secret_value()
        if not secret:
            raise NotConfigured(
                "LAYERCODE_WEBHOOK_SECRET is not set: copy it from your agent's page in the Layercode dashboard."
            )
        random = secret.lower().removeprefix(_PREFIX)
        if len(random) < _SHORTEST or _PLACEHOLDER.fullmatch(random):
            raise NotConfigured(
                "LAYERCODE_WEBHOOK_SECRET is a placeholder: anybody could sign with it. Copy the real one from"
                " your agent's page in the Layercode dashboard."
            )
        return secret


def new_secret() -> SecretStr:
    return SecretStr(f"{_PREFIX}{secrets.token_hex(16)}")
