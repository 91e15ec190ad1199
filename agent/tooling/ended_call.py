"""A call that is over, as `call_ended` in a tool file gets it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import httpx

from agent.storage import Database

HowEnded = Literal["caller hung up", "agent hung up", "transferred", "dropped", "timed out", "ended"]


@dataclass(frozen=True)
class TranscriptLine:
    """What one side has said in a turn. Of the agent's words those that were heard; interrupted: there were more."""

    role: Literal["caller", "agent"]
    text: str
    at: datetime
    interrupted: bool = False


@dataclass(frozen=True)
class EndedToolCall:
    """A tool call of the call. outcome: `unknown` when the process died while it ran. result: what the model was told;
    None when it is unknown. seconds: how long it ran."""

    name: str
    arguments: Mapping[str, Any]
    outcome: Literal["finished", "failed", "stopped", "unknown"]
    result: str | None
    at: datetime
    seconds: float | None = None


@dataclass(frozen=True)
class EndedCall:
    """Times are in UTC.

    id: what it is once; the same when the hook is tried again. attempt: 1 for the first time.
    platform: as in docs/platforms.md. caller, metadata: as in `ToolContext`.
    how: `ended` when the platform does not say by whom. `dropped`: the connection broke, or the server did.
        `timed out`: nothing was heard of the caller any more.
    reason, transferred_to: what `hang_up()` or `transfer()` was given.
    page_data: what the caller's page has sent, in order.
    http, database: as in `ToolContext`.
    """

    id: str
    conversation_id: str
    platform: str
    caller: str | None
    metadata: Mapping[str, Any]
    started: datetime
    ended: datetime
    how: HowEnded
    reason: str
    transferred_to: str
    transcript: Sequence[TranscriptLine]
    tool_calls: Sequence[EndedToolCall]
    page_data: Sequence[Any]
    attempt: int
    http: httpx.AsyncClient
    database: Database


CallEnded = Callable[[EndedCall], Awaitable[None]]
