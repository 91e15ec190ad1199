"""The one place that reads the environment: variables first, then `.env`.

The descriptions of the fields are the documentation: `uv run poe docs` writes docs/settings.md and the first part of
.env.example from them.

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

    layercode_webhook_secret: SecretStr = Field(
        default=SecretStr(""),
        description="Signs every webhook; from your agent's page in the dashboard. `voice serve` does not start without"
        " it. `voice dev` makes one for each run if it is empty.",
    )
    layercode_api_key: SecretStr | None = Field(
        default=None,
        description="For `POST /api/authorize`, which gives browsers session keys. Never sent to a browser.",
    )
    layercode_api_url: str = Field(
        default="https://api.layercode.com/v1", description="The base URL of Layercode's REST API."
    )
    layercode_agent_id: str | None = Field(
        default=None,
        description="The only agent for which `/api/authorize` gives session keys. Empty: any agent of your account.",
    )

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

    database_url: str = Field(
        default="sqlite:///voice.db",
        repr=False,  # may hold a password
        description="`sqlite:///relative.db` or `sqlite:////absolute/path.db` for one process;"
        " `postgresql://user:password@host/database` for several, with the extra `postgres`. Percent-encode special"
        " characters in the password.",
    )
    retention_days: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Days without activity after which a conversation is deleted. Empty: conversations are kept for"
        " ever.",
    )
    tools_dir: Path = Field(default=Path("tools"), description="The folder in which the tool files are.")
    mcp_servers: Path | None = Field(
        default=None,
        description="A JSON file that names MCP servers, whose tools are added; needs the extra `mcp`. `${NAME}` in it"
        " is replaced by a variable, which must be set.",
    )
    record_runs: Path | None = Field(
        default=None,
        description="A folder in which every conversation becomes a run file once it has been idle for a moment. The"
        " files hold transcripts. Empty: nothing is recorded.",
    )

    welcome_message: str = Field(
        default="", description="Said at the start of a new conversation. Empty: the caller speaks first."
    )
    apology_message: str = Field(
        default="Sorry, something went wrong on my side. Please say that again.",
        description="Said when there is no answer from the model.",
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
    max_turns: int = Field(
        default=500,
        ge=1,
        description="Turns that may run at once in one process. One more waits a second for a place and then gets 503.",
    )
    drain_seconds: float = Field(
        default=20.0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds that running turns have to finish after SIGTERM. Tools that finish by themselves then have"
        " as long again.",
    )
    keep_alive_seconds: int = Field(
        default=620,
        ge=1,
        description="Seconds that a connection may be idle between two requests. It must be more than a load balancer in"
        " front of this server keeps connections, or some requests get a 502: nginx and AWS take 60 s, Google Cloud"
        " 600 s.",
    )
    authorize_per_minute: int = Field(
        default=30,
        ge=1,
        description="How often per minute one address may call `/api/authorize`, in each process; then it gets 429.",
    )
    forwarded_allow_ips: str = Field(
        default="127.0.0.1,::1",
        description="Addresses or networks of the proxies in front of this server, separated by commas. Only their"
        " `X-Forwarded-For` is used.",
    )
    metrics_token: SecretStr | None = Field(
        default=None,
        description="The bearer token for `GET /metrics`. Empty: only requests from this machine are answered.",
    )

    cors_origins: Annotated[list[str], NoDecode] = Field(
        default=[],
        description="Origins of the pages that may call `/api/authorize` from another site, separated by commas.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="`debug`, `info`, `warning` or `error`. At `debug`, transcripts and error texts are logged.",
    )
    log_format: Literal["plain", "json"] = Field(
        default="plain", description="`plain`, or `json` for one object per line."
    )

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
