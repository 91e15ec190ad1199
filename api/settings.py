"""The one place that reads the environment: variables first, then `.env`.

The descriptions of the fields are the documentation: `uv run poe docs` writes docs/settings.md and the first part of
.env.example from them.

Tools have settings of their own, which they read when they are called; what stands in `.env` is exported for
them, and for libraries such as LangSmith's.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from dotenv import load_dotenv
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from agent.languages import fault_in, own_line, tag_of

_PREFIX = "whsec_"
Line = Annotated[str | dict[str, str], NoDecode]
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

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|PRIVATE|_DSN\b", re.IGNORECASE)


class NotConfigured(Exception):
    """The process must not start. `problems`: one sentence each, for the operator."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@contextmanager
def collected(problems: list[str]) -> Iterator[None]:
    """Add to `problems` what the block raises as NotConfigured, and go on after it."""
    try:
        yield
    except NotConfigured as error:
        problems += error.problems


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
    twilio_auth_token: SecretStr | None = Field(
        default=None,
        description="Signs what Twilio sends; from the front page of Twilio's console. Switches on `/twilio/voice`."
        " Needs the extra `twilio`.",
    )
    telnyx_token: SecretStr | None = Field(
        default=None,
        description="A long random secret of your own, the last part of the URLs that you give to Telnyx. Switches on"
        " `/telnyx/voice/TOKEN`. Needs the extra `twilio`.",
    )
    completions_api_key: SecretStr | None = Field(
        default=None,
        description="The bearer key for `/v1/chat/completions`, a long random secret of your own, which you give to"
        " Vapi, LiveKit, Pipecat, ElevenLabs agents or any other client. Switches it on.",
    )
    elevenlabs_api_key: SecretStr | None = Field(
        default=None,
        description="Verifies ElevenLabs' Speech Engine, which connects to `/elevenlabs/speech-engine`, and gives pages"
        " their tokens at `/elevenlabs/token`. Needs the extra `elevenlabs`.",
    )
    elevenlabs_engine_id: str | None = Field(
        default=None, description="The Speech Engine (`seng_…`) for which `/elevenlabs/token` gives tokens."
    )
    elevenlabs_api_url: str = Field(
        default="https://api.elevenlabs.io", description="The base URL of ElevenLabs' REST API."
    )
    public_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/\s]+/?$",
        description="Where the platforms reach this server, such as `https://voice.example.com`. Empty: what the proxy"
        " in front of it says in `X-Forwarded-Proto` and `X-Forwarded-Host`.",
    )
    relay_options: dict[str, Any] = Field(
        default={},
        description="JSON: further attributes of `<ConversationRelay>`, as Twilio's Python package names them, such as"
        ' `{"language": "de-DE", "voice": "…", "tts_provider": "…"}`.',
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
        description="Said when there is no answer from the model.",
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
    max_turns: int = Field(
        default=500,
        ge=1,
        description="Turns that may run at once in one process. One more waits a second for a place and then gets 503.",
    )
    action_hold_seconds: float = Field(
        default=2.0,
        ge=0,
        le=30,
        description="Where a platform sends requests on a guess that the caller has finished (`/v1/chat/completions`):"
        " seconds that a tool which changes something waits, from the request on, so that nothing is done for one that"
        " is dropped.",
    )
    call_idle_seconds: float = Field(
        default=120.0,
        gt=0,
        allow_inf_nan=False,
        description="Where no platform says that a call is over (`/v1/chat/completions`): seconds without a request"
        " after which it is, for `call_ended` in tool files.",
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
        description="Seconds that a connection may be idle between two requests. It must be more than a load balancer"
        " before this server keeps its connections, or some requests get a 502: nginx and AWS keep them for 60 s,"
        " Google Cloud for 600 s.",
    )
    authorize_per_minute: int = Field(
        default=30,
        ge=1,
        description="How often per minute one address may call `/api/authorize`, in each process; then it gets 429.",
    )
    authorize_hook: str | None = Field(
        default=None,
        description="Your own check of who may open a conversation at `/api/authorize` and `/elevenlabs/token`:"
        " `package.module:function` of an `async def function(request, fields) -> bool`. Empty: everybody may, and who"
        " knows a conversation's id goes on in it.",
    )
    forwarded_allow_ips: str = Field(
        default="",
        description="Addresses or networks of the proxies in front of this server, separated by commas. Only their"
        " `X-Forwarded-For` is used: name those that write it themselves, or callers can choose their address. Empty:"
        " nobody's, and all who come through a proxy count as one.",
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
        if fault := fault_in(texts):
            raise PydanticCustomError("texts", f"It is a JSON object with a text for each language: {fault}")
        return texts

    @field_validator("default_language")
    @classmethod
    def _tag(cls, value: str) -> str:
        if not (tag := tag_of(value)):
            raise PydanticCustomError("language", "It must be a language tag such as de or pt-BR")
        return tag

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
        self.check_secrets(["layercode_webhook_secret"])
        return secret

    def all_secrets(self) -> list[str]:
        """These settings' secrets, the database's password, and what the environment, with `.env`, calls a key, a token
        or the like: tools and libraries have theirs there."""
        own = [value.get_secret_value() for _, value in self if isinstance(value, SecretStr)]
        password = urlsplit(self.database_url).password or ""
        named = [value for name, value in os.environ.items() if _SECRET_NAME.search(name)]
        return [secret for secret in (*own, password, unquote(password), *named) if secret]

    def apology_in(self, language: str) -> str:
        """language: empty for the default one."""
        return own_line(self.apology_message, language or self.default_language)

    def check_secrets(self, names: Iterable[str]) -> None:
        """NotConfigured when one of these settings would let anybody in."""
        for name in names:
            random = getattr(self, name).get_secret_value().lower().removeprefix(_PREFIX)
            if len(random) < _SHORTEST or _PLACEHOLDER.fullmatch(random):
                raise NotConfigured(
                    f"{name.upper()} is a placeholder: anybody could sign with it. Copy the real one from where"
                    " docs/platforms.md says."
                )


def new_secret() -> SecretStr:
    return SecretStr(f"{_PREFIX}{secrets.token_hex(16)}")
