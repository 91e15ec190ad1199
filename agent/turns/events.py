"""What a turn sends: words for the caller, data for the page, and what is to become of the call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

CallAction = Literal["hang_up", "transfer", "send_dtmf"]


@dataclass(frozen=True)
class Say:
    """Words for the caller's ear. `of`: the id of the assistant's message they belong to; None for progress."""

    text: str
    of: str | None = None


@dataclass(frozen=True)
class Show:
    """JSON for the caller's page."""

    data: Any


@dataclass(frozen=True)
class CallControl:
    """What the platform shall do to the call, once everything said before it in the turn has been heard.

    action: one of the request's `abilities`.
    value: the number or address to transfer to; the digits to send.
    reason: for the log and for whoever takes over the call.
    """

    action: CallAction
    value: str = ""
    reason: str = ""


Event = Say | Show | CallControl


@dataclass(frozen=True)
class SentEvent:
    """An event and when it was made, in ms since the turn began."""

    ms: int
    event: Event
