"""What came of a request, at the caller's end; and what a recorded request says of its call."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from agent.replay import run_file as runs
from api.platforms import CallDetails, ClientEvent

SECRET = f"whsec_{secrets.token_hex(16)}"

Way = Literal["in", "out"]
Sent = tuple[int, Literal["say", "show", "control"], Any]


@dataclass
class Heard:
    """A stream as it came. sent: [ms, kind, content]. frames: [ms, way, frame], on the wire. raw: of server-sent
    events, their data. ended: how many ends it had. over: ms when that came, or the line was dropped. hung_up: whether
    the line was dropped before that."""

    sent: list[Sent] = field(default_factory=list)
    frames: list[tuple[int, Way, Any]] = field(default_factory=list)
    raw: str = ""
    ended: int = 0
    over: int | None = None
    hung_up: bool = False

    def take(self, event: ClientEvent, zero: float) -> None:
        """An event has come. zero: when the request was made, in the event loop's time."""
        ms = round((event.at - zero) * 1000)
        match event.kind:
            case "say" | "show" | "control":
                self.sent.append((ms, event.kind, event.content))
            case _:
                self.over = ms if self.over is None else self.over
                self.ended += event.kind == "end" and event.content == "complete"
                self.hung_up = not self.ended


def words_of(sent: Sequence[tuple[int, str, Any]]) -> str:
    """What was said among what was sent."""
    return "".join(content for _, kind, content in sent if kind == "say")


def call_of(webhook: Mapping[str, Any]) -> CallDetails:
    """What the platform tells of the call: with the language, which some tell by other means."""
    language = webhook.get("language")
    metadata = {**webhook.get("metadata", {}), **({"language": language} if language else {})}
    return CallDetails(webhook.get("conversation_id", ""), webhook.get("caller"), metadata)


def carried(turn: runs.RecordedTurn, events: int, kinds: frozenset[str]) -> int:
    """How many of a turn's first events reach a platform that carries these kinds."""
    return events - sum(kind not in kinds for _, kind, _ in turn.sent[:events])
