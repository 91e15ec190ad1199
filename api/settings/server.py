from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, SecretStr, field_validator
from pydantic_settings import NoDecode


class ServerSettings(BaseModel):
    """The server"""

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

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value
