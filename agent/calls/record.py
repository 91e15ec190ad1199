"""What a hook is told of a call: made of the journal, once the call is over."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import httpx

from agent.calls.table import CallRow
from agent.memory import heard_text
from agent.storage import Database, Row, sent_of
from agent.tooling import EndedCall, EndedToolCall, HowEnded, TranscriptLine
from agent.turns import CallControl, HeardReport, Say, e164

_TURNS = (
    "SELECT turn, kind, asked, outcome, sent, heard, started, ended FROM turns"
    " WHERE conversation = ? AND started >= ? AND started < ? ORDER BY number"
)
_CALLS = (
    "SELECT turn, name, arguments, state, result, started, ms FROM tool_calls"
    " WHERE conversation = ? AND started >= ? AND started < ? ORDER BY started"
)
_DATA = "SELECT body FROM notes WHERE conversation = ? AND kind = 'data' AND at >= ? AND at < ? ORDER BY at"
_OUTCOMES = ("finished", "failed", "stopped")
HOW_ENDED: Mapping[str, HowEnded] = {"hang_up": "agent hung up", "transfer": "transferred"}  # by `CallControl.action`


@dataclass(frozen=True)
class _Turn:
    """A row of `turns`."""

    id: str
    kind: str
    asked: dict[str, Any]
    outcome: str | None
    sent: Sequence[Any]
    heard: HeardReport | None
    started: float
    ended: float | None

    @property
    def control(self) -> CallControl | None:
        """What the turn wanted to become of the call, if it was not interrupted before that."""
        controls = [event for event in self.sent if isinstance(event, CallControl) and event.action in HOW_ENDED]
        return controls[-1] if controls and self.outcome == "answered" else None


async def record_of(
    database: Database, call: CallRow, until: float, actions: Collection[str], http: httpx.AsyncClient
) -> EndedCall:
    """until: when the conversation's next call began. actions: the names of the tools that change something."""
    span = call.conversation, call.started, until
    rows, calls, data = await database.fetch_each((_TURNS, *span), (_CALLS, *span), (_DATA, *span))
    acted = {row[0] for row in calls if row[1] in actions and row[3] != "stopped"}
    turns = list(_meant([_turn(row) for row in rows], acted))
    first = turns[0] if turns else None
    last = max((time for turn in turns for time in (turn.started, turn.ended) if time), default=call.started)
    control = turns[-1].control if turns else None
    wanted = HOW_ENDED[control.action] if control else "timed out"
    return EndedCall(
        id=f"{call.conversation}/{call.number}",
        conversation_id=call.conversation,
        platform=call.platform,
        caller=e164(first.asked.get("caller")) if first else None,
        metadata=first.asked.get("metadata") or {} if first else {},
        started=_time(call.started),
        ended=_time(call.ended or last),
        how=cast(HowEnded, call.how or wanted),
        reason=control.reason if control else "",
        transferred_to=control.value if control else "",
        transcript=list(_transcript(turns)),
        tool_calls=[_tool_call(row) for row in calls],
        page_data=[json.loads(body) for (body,) in data],
        attempt=call.attempts + 1,
        http=http,
        database=database,
    )


def _turn(row: Row) -> _Turn:
    turn, kind, asked, outcome, sent, heard, started, ended = row
    report = HeardReport(**json.loads(heard)) if heard else None
    return _Turn(turn, kind, json.loads(asked), outcome, [s.event for s in sent_of(sent)], report, started, ended)


def _meant(turns: Sequence[_Turn], acted: Collection[str]) -> Iterator[_Turn]:
    """Without guesses at what the caller would say in whose place another request came, as in the memory."""
    for number, turn in enumerate(turns):
        place = turn.asked.get("place")
        replaced = place and any(later.asked.get("place") == place for later in turns[number + 1 :])
        if not replaced or turn.id in acted:
            yield turn


def _transcript(turns: Sequence[_Turn]) -> Iterator[TranscriptLine]:
    for number, turn in enumerate(turns):
        if turn.kind == "message" and turn.asked["text"].strip():
            yield TranscriptLine("caller", turn.asked["text"].strip(), _time(turn.started))
        said = [(event.of, event.text) for event in turn.sent if isinstance(event, Say)]
        report = _report(turn, turns[number + 1 :])
        text, whole = heard_text(said, report.text if report else None, report.kind if report else "exact")
        if text:
            yield TranscriptLine("agent", text, _time(turn.started), not whole or turn.outcome == "interrupted")


def _report(turn: _Turn, later: Sequence[_Turn]) -> HeardReport | None:
    """What was heard of a turn: as a later one was told, or as it was reported without one."""
    for number, other in enumerate(later):
        if heard := other.asked.get("heard"):
            report = HeardReport(**heard)
            if report.turn_id == turn.id or (report.turn_id is None and number == 0):
                return report
    return turn.heard


def _tool_call(row: Row) -> EndedToolCall:
    _, name, arguments, state, result, started, ms = row
    outcome: Any = state if state in _OUTCOMES else "unknown"
    return EndedToolCall(name, json.loads(arguments), outcome, result, _time(started), ms / 1000 if ms else None)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
