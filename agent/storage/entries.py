"""The journal's entries as the agent has them, and how they stand in its tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agent.turns import CallControl, Event, HeardKind, HeardReport, Kind, Say, SentEvent, Show, Summary, TurnRequest

NEWEST_NOTES = 20  # of the page's data, that a turn is told of
TWINS = "twins"


@dataclass(frozen=True)
class ToolCallRecord:
    """A row of `tool_calls`. state: as there, or `running` for one that is at work now. message: as LangChain writes
    it, and beside it the ids of the call's twins."""

    call: str
    answers: str
    turn: str
    name: str
    message: dict[str, Any]
    state: str
    result: str | None
    unspoken: Sequence[str]

    @property
    def twins(self) -> Sequence[str]:
        """The ids of calls of its step that were the same, and were run as this one."""
        return self.message.get(TWINS) or ()


@dataclass(frozen=True)
class PageData:
    id: str
    body: str
    at: float


@dataclass(frozen=True)
class Admission:
    """What is to be done about a webhook. number: the turn's place in its conversation, when it is to be run here.
    sent: what was sent, when it has been run. elsewhere: it is running on another worker. nothing_pending: there was
    nothing that it must know (`PendingContext`), and no older turn was running on any worker. again: it has been run
    before, and not to its end."""

    number: int | None = None
    sent: Sequence[SentEvent] = ()
    elsewhere: bool = False
    nothing_pending: bool = False
    again: bool = False


@dataclass(frozen=True)
class LastTurn:
    """A conversation's newest turn. is_answered: to its end. has_called: whether it has begun to run a tool. heard:
    what was reported of it, and no turn has been told of yet."""

    id: str
    text: str
    is_answered: bool
    has_called: bool
    heard: HeardReport | None


@dataclass(frozen=True)
class CrashedTurn:
    """A turn that never ended, with the tool calls it had begun and, if it did not die with its process, what
    it had sent."""

    request: TurnRequest
    calls: Sequence[ToolCallRecord]
    sent: Sequence[SentEvent] = ()


@dataclass(frozen=True)
class InterruptedTurn:
    """What was sent in an earlier turn, and how much of it counts as heard.

    heard: what the platform reported; None when it reported nothing: then all that was sent.
    kind: as in `HeardReport`.
    """

    turn: str
    sent: Sequence[SentEvent]
    heard: str | None
    kind: HeardKind = "exact"


@dataclass(frozen=True)
class PendingContext:
    """What a conversation's memory does not know yet when a turn begins.

    late: calls that their turn did not wait for. One without a result ran in a process that has died.
    summary: made since the last turn, of what the memory still holds.
    """

    crashed: Sequence[CrashedTurn] = ()
    late: Sequence[ToolCallRecord] = ()
    notes: Sequence[PageData] = ()
    spoken: Sequence[InterruptedTurn] = ()
    summary: Summary | None = None


def call_of(
    call: str,
    answers: str,
    turn: str,
    name: str,
    message: str,
    state: str,
    result: str | None,
    unspoken: str | None,
    _worker: str = "",
) -> ToolCallRecord:
    return ToolCallRecord(call, answers, turn, name, json.loads(message), state, result, json.loads(unspoken or "[]"))


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def row_of(sent: SentEvent) -> list[Any]:
    match sent.event:
        case Say(text, of):
            return [sent.ms, "say", text, of]
        case Show(data):
            return [sent.ms, "show", data]
        case CallControl() as control:
            return [sent.ms, "control", asdict(control)]


def sent_of(rows: str | None) -> list[SentEvent]:
    return [SentEvent(row[0], _event_of(*row[1:])) for row in json.loads(rows or "[]")]


def _event_of(kind: str, content: Any, of: str | None = None) -> Event:
    match kind:
        case "say":
            return Say(content, of)
        case "control":
            return CallControl(**content)
        case _:
            return Show(content)


def request_of(conversation: str, turn: str, kind: Kind, entry: str) -> TurnRequest:
    fields = json.loads(entry)
    heard = fields.pop("heard")
    abilities = frozenset(fields.pop("abilities", ()))
    return TurnRequest(
        conversation, turn, kind, heard=HeardReport(**heard) if heard else None, abilities=abilities, **fields
    )
