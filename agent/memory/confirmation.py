"""Asking before acting.

A call of a tool with `confirm=` is not run: its arguments are pinned, and the question is put to the caller at
the end of the turn. Only when the whole question was heard does the model get the `confirm` tool, for the next
two turns; it runs the pinned call as it was asked, whatever the model now thinks the arguments were.
A new call of such a tool takes the pinned one's place. A question that was not heard to its end asks nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, ToolCall, ToolMessage
from langchain_core.tools import BaseTool, tool

from agent.memory.notes import last_turn
from agent.turns import tool_message, was_interrupted

CONFIRM = "confirm"
_TURNS = 2

_ASKED = (
    'Not done yet. The caller is being asked, right after your words: "{question}" Do not ask it yourself.'
    f" When they answer, call `{CONFIRM}`."
)
ONE_AT_A_TIME = "Not done: another action waits for the caller's answer first. Call this again afterwards."
_DECLINED = "Nothing was done, as the caller wished."
_SETTLED = "The first of these calls has settled it; this one changed nothing."
_NOTHING = (
    "Nothing was done: there is nothing to confirm. It was settled already, or the question was not heard, or too"
    " long ago. If the caller still wants it, call the action's own tool."
)


class Pending(TypedDict):
    """A pinned call. key: the action's. question_id: the message that asked; empty until it has been put."""

    key: str
    call: str
    name: str
    arguments: dict[str, Any]
    question: str
    question_id: str
    turns: int
    heard: bool


@tool(CONFIRM)
def _confirm(yes: bool) -> str:
    """Carry out, or drop, the action that the caller was just asked to confirm.

    yes: true only when the caller has clearly agreed to exactly that; false when they declined.
    When they want something changed, call the action's own tool again instead.
    """
    raise NotImplementedError("run by the graph")


def latest(_: Pending | None, new: Pending | None) -> Pending | None:
    return new


def tools(pending: Pending | None) -> list[BaseTool]:
    return [_confirm] if pending and pending["heard"] else []


def pin(*, key: str, call: str, name: str, arguments: dict[str, Any], question: str) -> Pending:
    """An action that waits for its question to be put."""
    return Pending(
        key=key, call=call, name=name, arguments=arguments, question=question,
        question_id="", turns=0, heard=False,
    )  # fmt: skip


def not_done_yet(question: str) -> str:
    """The result of a call that was pinned, in words for the model."""
    return _ASKED.format(question=question)


def heard(pending: Pending | None, messages: Sequence[AnyMessage]) -> Pending | None:
    """The pinned call as a new turn finds it: gone when its question was not heard, or is too old."""
    if pending is None or not still_asks(pending):
        return None
    question = next((m for m in messages if m.id == pending["question_id"]), None)
    if question is None or was_interrupted(question):
        return None
    return {**pending, "turns": pending["turns"] + 1, "heard": True}


def still_asks(pending: Pending) -> bool:
    """Whether the next turn may still answer the question."""
    return pending["turns"] < _TURNS


def only_asks(messages: Sequence[AnyMessage], pending: Pending | None) -> bool:
    """Whether the last step did nothing but pin a call: then the question is the answer."""
    if pending is None or pending["question_id"]:
        return False
    results = [m for m in last_turn(messages) if isinstance(m, ToolMessage)]
    calls = next((m.tool_calls for m in reversed(messages) if isinstance(m, AIMessage)), [])
    return bool(results) and len(calls) == 1 and calls[0]["id"] == pending["call"]


def declined(call: ToolCall) -> ToolMessage:
    return tool_message(_DECLINED, call_id=call["id"], name=CONFIRM)


def settled_already(call: ToolCall) -> ToolMessage:
    return tool_message(_SETTLED, call_id=call["id"], name=CONFIRM)


def nothing_to_confirm(call: ToolCall) -> ToolMessage:
    return tool_message(_NOTHING, call_id=call["id"], name=CONFIRM, failed=True)
