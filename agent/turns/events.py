"""What a turn sends: words for the caller, and data for the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Say:
    """Words for the caller's ear. `of`: the id of the assistant's message they belong to; None for progress."""

    text: str
    of: str | None = None


@dataclass(frozen=True)
class Show:
    """JSON for the caller's page."""

    data: Any


Event = Say | Show


@dataclass(frozen=True)
class SentEvent:
    """An event and when it was made, in ms since the turn began."""

    ms: int
    event: Event
