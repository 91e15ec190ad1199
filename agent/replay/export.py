"""From the journal to a run file: the inputs of a conversation as they were, and what was sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

from agent.replay import run_file as runs
from agent.storage import Database, Row, was_stopped

_TURNS = (
    "SELECT turn, kind, asked, sent, trace, outcome, started, ended FROM turns WHERE conversation = ?"
    " AND state = 'ended' AND kind <> 'silence' ORDER BY number"
)
_CALLS = (
    "SELECT turn, call, name, arguments, did, result, state, told, ms, ended, message FROM tool_calls"
    " WHERE conversation = ? ORDER BY started"
)
_LAST_FRAMES = "SELECT body, at FROM notes WHERE conversation = ? AND kind = 'frames' ORDER BY at"
_NOTES = "SELECT body, at FROM notes WHERE conversation = ? AND kind = 'data' ORDER BY at"


async def export_run(database: Database, conversation: str) -> runs.RunFile | None:
    """The conversation, without what the model was shown: replay adds that. None when there is none."""
    turns = await database.fetch(_TURNS, conversation)
    if not turns:
        return None
    rows = await database.fetch(_CALLS, conversation)
    calls = [(row[0], _call(*row[1:8])) for row in rows]
    _pace([(call, json.loads(row[4] or "[]"), *row[8:]) for (_, call), row in zip(calls, rows, strict=True)])
    notes = await database.fetch(_NOTES, conversation)
    began = min([turns[0][6], *(note[1] for note in notes)])
    made = [(row[6], _turn(conversation, row, began)) for row in turns]
    _hold_back(calls, [(turn[0], (json.loads(turn[4] or "null") or {}).get("late", ())) for turn in turns])
    for number, (_, turn) in enumerate(made):
        turn.tools = [call for owner, call in calls if owner == turn.webhook["turn_id"]]
        if turns[number][5] == "interrupted" and not turn.hung_up:
            _say_how_it_ended(turn, turns[number], turns[number + 1 :])
    made += [(row[1], _data(conversation, number, row, began)) for number, row in enumerate(notes)]
    asked = [json.loads(row[2]) for row in turns]
    _place_frames([(at, turn, request.get("frames", [])) for (at, turn), request in zip(made, asked, strict=False)])
    _place_last_frames(made, await database.fetch(_LAST_FRAMES, conversation))
    platform = asked[0].get("platform", "")
    return runs.RunFile(platform=platform, turns=[turn for _, turn in sorted(made, key=lambda one: one[0])])


def _place_frames(turns: Sequence[tuple[float, runs.RecordedTurn, Sequence[tuple[int, Any]]]]) -> None:
    """Give each turn the frames that began it, and the turn before it those that came until then. `turns`: when it
    began, the turn, the frames: (ms before it, frame)."""
    for (before_began, before, _), (began, turn, frames) in zip([turns[0], *turns], turns, strict=False):
        first = _where_it_begins([frame for _, frame in frames])
        _add_frames(before, frames[:first], began - before_began)
        _add_frames(turn, frames[first:], 0)


def _place_last_frames(turns: Sequence[tuple[float, runs.RecordedTurn]], rows: Sequence[Row]) -> None:
    """Those that came after a socket's last turn."""
    for body, at in rows:
        began, turn = max((one for one in turns if one[0] <= at), key=lambda one: one[0], default=turns[0])
        _add_frames(turn, json.loads(body), at - began)


def _add_frames(turn: runs.RecordedTurn, frames: Sequence[tuple[int, Any]], seconds: float) -> None:
    turn.frames += [(round(ms + seconds * 1000), "in", frame) for ms, frame in frames]


def _where_it_begins(frames: Sequence[dict[str, Any]]) -> int:
    """Of the frames before a turn, the first of those that ask for it: words, or all its keys."""
    first = max(0, len(frames) - 1)
    while first and frames[first].get("type") == frames[first - 1].get("type") == "dtmf":
        first -= 1
    return first


def _turn(conversation: str, row: Row, began: float) -> runs.RecordedTurn:
    turn, kind, request, sent, trace, _, started, _ = row
    kept: dict[str, Any] = json.loads(trace or "null") or {}
    hung_up = kept.get("hung_up")
    return runs.RecordedTurn(
        at=round((started - began) * 1000),
        webhook=_webhook(conversation, turn, kind, json.loads(request)),
        summary=runs.RecordedSummary(**kept["summary"]) if kept.get("summary") else None,
        models=[model_call(call) for call in kept.get("models", [])],
        checks=kept.get("checks") or {},
        hung_up=runs.HungUp(events=hung_up[0], ms=hung_up[1]) if hung_up else None,
        sent=[(event[0], event[1], event[2]) for event in json.loads(sent or "[]")],
    )


def model_call(kept: dict[str, Any]) -> runs.RecordedModelCall:
    """From the journal's trace."""
    return runs.RecordedModelCall(**{name: value for name, value in kept.items() if name not in ("at", "shown")})


def _say_how_it_ended(turn: runs.RecordedTurn, row: Row, later: Sequence[Row]) -> None:
    """It was interrupted though the caller listened: by a newer turn, or else as the process ended, which is
    told as if the line had been dropped."""
    started, ended = row[6:]
    if later and later[0][6] < ended:
        turn.superseded = True
    else:
        turn.hung_up = runs.HungUp(events=len(turn.sent), ms=round((ended - started) * 1000))


def _webhook(conversation: str, turn: str, kind: str, request: dict[str, Any]) -> dict[str, Any]:
    """What a platform would send to ask the same again, in the agent's own words."""
    fields: dict[str, Any] = {"kind": kind, "conversation_id": conversation, "turn_id": turn}
    if heard := request.get("heard"):
        heard = {name: value for name, value in heard.items() if (name, value) != ("kind", "exact")}
        request = {**request, "heard": heard}
    own = {name: value for name, value in request.items() if value and name not in ("platform", "frames")}
    return {**fields, **own}


def _call(
    key: str, name: str, arguments: str, did: str | None, result: str | None, state: str, told: int
) -> runs.RecordedToolCall:
    stopped = was_stopped(name, state, result)
    over = state in ("finished", "failed")
    return runs.RecordedToolCall(
        key=key,
        name=name,
        arguments=json.loads(arguments),
        did=[(round(at), kind, value) for at, kind, value in json.loads(did or "[]")],
        result="" if stopped else result or "",
        ended="stopped" if stopped else state if over else "unknown",
        late=over and not stopped and told != 1,
    )


def _hold_back(calls: Sequence[tuple[str, runs.RecordedToolCall]], told: Sequence[tuple[str, Sequence[str]]]) -> None:
    """A call of which a turn was told late was not over yet when the turn before that one began. `told`: by turn."""
    for (before, _), (turn, keys) in pairwise(told):
        for owner, call in calls:
            if call.key in keys:
                call.told = turn
                call.after = before if owner != before else ""


def _pace(calls: Sequence[tuple[runs.RecordedToolCall, Sequence[Any], float | None, float | None, str]]) -> None:
    """Give the calls their times, by (call, what it did, ms it ran, when it ended, its message). Those of one step
    begin at the same moment in a replay: what they do and how they end keeps its order there, so no two calls have
    the same ms."""
    for _, step in groupby(calls, key=lambda one: one[4]):
        over = [(c, did, ended * 1000 - ms, ended * 1000) for c, did, ms, ended, _ in step if ms is not None and ended]
        first = min((began for _, _, began, _ in over), default=0.0)
        moments = sorted(
            (at - first, number, deed)
            for number, (_, did, began, ended) in enumerate(over)
            for deed, at in enumerate([*(began + one[0] for one in did), ended])
        )
        last, before = -1, -1
        for at, number, deed in moments:
            call = over[number][0]
            last, before = max(round(at), last + (number != before)), number
            if deed < len(call.did):
                call.did[deed] = (last, *call.did[deed][1:])
            else:
                call.ms = last


def _data(conversation: str, number: int, row: Row, began: float) -> runs.RecordedTurn:
    body, at = row
    webhook = {"kind": "data", "conversation_id": conversation, "turn_id": f"data-{number}", "data": json.loads(body)}
    return runs.RecordedTurn(at=round((at - began) * 1000), webhook=webhook)
