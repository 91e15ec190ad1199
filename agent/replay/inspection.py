"""A conversation as a developer looks at it: its memory, the call that waits for a yes, its language, and its last
turns, in JSON.

From the checkpoint and the journal; of a turn that is running, from the turn. All ms are since its webhook came; but a
turn's end, and where its tools begin, since it was entered in the journal, which is a few ms later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from langchain_core.messages import AnyMessage

from agent.memory import Pending, still_asks
from agent.storage import Row, Storage
from agent.tooling import ToolFolder, options_of
from agent.turns import Turn, compact, was_interrupted

_TURNS = (
    "SELECT turn, kind, asked, state, outcome, sent, trace, started, ended FROM turns WHERE conversation = ?"
    " ORDER BY started DESC LIMIT 10"
)
_CALLS = (
    "SELECT turn, call, name, arguments, state, result, started, ms FROM tool_calls WHERE conversation = ?"
    " AND started >= ? ORDER BY started"
)


class Agent(Protocol):
    """What is looked at (agent/agent.py)."""

    folder: ToolFolder

    async def read_tools(self) -> None: ...
    def running(self, conversation_id: str) -> list[Turn]: ...


async def tools_found(agent: Agent) -> list[dict[str, Any]]:
    """[{name, description, confirm, file}], as the files are now."""
    await agent.read_tools()
    return [
        {
            "name": name,
            "description": tool.description,
            "confirm": options_of(tool).confirm,
            "file": agent.folder.owner_of(name),
        }
        for name, tool in agent.folder.tools.items()
    ]


async def inspect(agent: Agent, storage: Storage, conversation: str) -> dict[str, Any]:
    """{memory, pending, language, turns}; the turns are the last ten. language: empty while it is not known."""
    running = {turn.request.key: turn for turn in agent.running(conversation)}
    rows = list(reversed(await storage.database.fetch(_TURNS, conversation)))
    calls = await storage.database.fetch(_CALLS, conversation, rows[0][7]) if rows else []
    state = await storage.state(conversation)
    return {
        "memory": [_remembered(message) for message in state.get("messages", [])],
        "pending": _pending(state.get("pending")),
        "language": state.get("language", ""),
        "turns": [_turn(row, running.get((conversation, row[0], row[1])), calls) for row in rows],
    }


def _remembered(message: AnyMessage) -> dict[str, Any]:
    return {**compact([message])[0], **({"interrupted": True} if was_interrupted(message) else {})}


def _pending(pending: Pending | None) -> dict[str, Any] | None:
    if pending is None or not still_asks(pending):
        return None
    return {
        "question": pending["question"],
        "tool": pending["name"],
        "arguments": pending["arguments"],
        "heard": pending["heard"],
    }


def _turn(row: Row, running: Turn | None, calls: Sequence[Row]) -> dict[str, Any]:
    turn, kind, request, state, outcome, sent, trace, started, ended = row
    models = _models(running.trace if running else json.loads(trace or "null") or {})
    return {
        "turn_id": turn,
        "kind": kind,
        "text": json.loads(request)["text"],
        "outcome": outcome if state == "ended" else "running" if running else "crashed",
        "began": started,
        "first_token": next((call["first_token"] for call in models if call["first_token"] is not None), None),
        "first_words": running.first_words_ms if running else _first_words(json.loads(sent or "[]")),
        "end": round((ended - started) * 1000) if ended else None,
        "model_calls": models,
        "tools": [_call(call, started) for call in calls if call[0] == turn],
    }


def _models(trace: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A journal of an earlier version does not say when a call began."""
    made = []
    for call in trace.get("models", []):
        at, chunks = call.get("at", 0), call["chunks"]
        over = call["ms"] or call["ended"] != "left"
        made.append(
            {"at": at, "first_token": at + chunks[0][0] if chunks else None, "end": at + call["ms"] if over else None}
        )
    return made


def _first_words(sent: Sequence[Any]) -> int | None:
    return next((event[0] for event in sent if event[1] == "say"), None)


def _call(row: Row, began: float) -> dict[str, Any]:
    _, call, name, arguments, state, result, started, ms = row
    return {
        "call": call,
        "name": name,
        "arguments": json.loads(arguments),
        "state": state,
        "result": result,
        "at": round((started - began) * 1000),
        "ms": ms if ms is None else round(ms),
    }
