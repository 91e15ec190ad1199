"""From the journal to a run file: the inputs of a conversation as they were, and what was sent."""

from __future__ import annotations

import json
from typing import Any

from agent import runs
from agent.memory import Database, Row

_TURNS = (
    "SELECT turn, kind, asked, sent, trace, started FROM turns WHERE conversation = ? AND state = 'ended'"
    " ORDER BY started"
)
_CALLS = (
    "SELECT turn, call, name, arguments, did, result, state, started, ended FROM tool_calls WHERE conversation = ?"
    " ORDER BY started"
)
_NOTES = "SELECT body, at FROM notes WHERE conversation = ? AND kind = 'data' ORDER BY at"


async def export_run(database: Database, conversation: str) -> runs.RunFile | None:
    """The conversation, without what the model was shown: replay adds that. None when there is none."""
    turns = await database.fetch(_TURNS, conversation)
    if not turns:
        return None
    calls = [(row[0], _call(*row[1:])) for row in await database.fetch(_CALLS, conversation)]
    notes = await database.fetch(_NOTES, conversation)
    began = min([turns[0][5], *(note[1] for note in notes)])
    made = [_turn(conversation, row, began) for row in turns]
    for turn in made:
        turn.tools = [call for owner, call in calls if owner == turn.webhook["turn_id"]]
    made += [_data(conversation, number, row, began) for number, row in enumerate(notes)]
    return runs.RunFile(turns=sorted(made, key=lambda turn: turn.at))


def _turn(conversation: str, row: Row, began: float) -> runs.Turn:
    turn, kind, asked, sent, trace, started = row
    kept: dict[str, Any] = json.loads(trace or "null") or {}
    hung_up = kept.get("hung_up")
    return runs.Turn(
        at=round((started - began) * 1000),
        webhook=_webhook(conversation, turn, kind, json.loads(asked)),
        models=[runs.ModelCall(**{k: v for k, v in call.items() if k != "shown"}) for call in kept.get("models", [])],
        hung_up=runs.HungUp(events=hung_up[0], ms=hung_up[1]) if hung_up else None,
        sent=[(event[0], event[1], event[2]) for event in json.loads(sent or "[]")],
    )


def _webhook(conversation: str, turn: str, kind: str, asked: dict[str, Any]) -> dict[str, Any]:
    """What a platform would send to ask the same again, in the agent's own words."""
    fields: dict[str, Any] = {"kind": kind, "conversation_id": conversation, "turn_id": turn}
    return {**fields, **{name: value for name, value in asked.items() if value}}


def _call(
    key: str, name: str, arguments: str, did: str | None, result: str | None, state: str, started: float, ended: Any
) -> runs.ToolCall:
    over = state in ("finished", "failed") and ended is not None
    return runs.ToolCall(
        key=key,
        name=name,
        arguments=json.loads(arguments),
        did=json.loads(did or "[]"),
        result=result or "",
        ended=state if over else "unknown",
        ms=round((ended - started) * 1000) if over else 0,
    )


def _data(conversation: str, number: int, row: Row, began: float) -> runs.Turn:
    body, at = row
    webhook = {"kind": "data", "conversation_id": conversation, "turn_id": f"data-{number}", "data": json.loads(body)}
    return runs.Turn(at=round((at - began) * 1000), webhook=webhook)
