"""Asking before acting.

A call of a tool with `confirm=` is not run: its arguments are pinned, and the question is put to the caller at
the end of the turn. Only when the whole question was heard does the model get the `confirm` tool, for the next
two turns; it runs the pinned call as it was asked, whatever the model now thinks the arguments were.
A new call of such a tool takes the pinned one's place. A question that was not heard to its end asks nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from langchain_core.tools import BaseTool, tool
from pydantic import BaseModel, ConfigDict

from agent.memory.heard import count_words
from agent.memory.notes import last_turn
from agent.turns import was_interrupted

CONFIRM = "confirm"
_TURNS = 2

_ASKED = (
    'Not done yet. The caller is being asked, right after your words: "{question}" Do not ask it yourself.'
    f" When they answer, call `{CONFIRM}`."
)
DECLINED = "Nothing was done, as the caller wished."
_CONTRADICTED = "Nothing was done: these calls contradict each other. Ask the caller what they want."
_NOTHING = (
    "Nothing was done: there is nothing to confirm. It was settled already, or the question was not heard, or too"
    " long ago. If the caller still wants it, call the action's own tool."
)
_ASKED_ALREADY = (
    f"Nothing was done: the caller has been asked exactly this, and has heard it. Call `{CONFIRM}` with what they have"
    " answered. Do not call this again for it."
)


class Pending(TypedDict):
    """A pinned call. key: the action's. question_id: the message that asked; empty until it has been put. nearly: how
    often its question was answered and heard but for the last word."""

    key: str
    call: str
    name: str
    arguments: dict[str, Any]
    question: str
    question_id: str
    turns: int
    heard: bool
    nearly: NotRequired[int]


class _Answer(BaseModel):
    """What else is sent changes nothing: the action is run as it was asked about."""

    model_config = ConfigDict(extra="ignore")
    yes: bool


@tool(CONFIRM, args_schema=_Answer)
def _confirm(yes: bool) -> str:
    """Carry out, or drop, the action that the caller was just asked to confirm.

    yes: true only when the caller has clearly agreed to exactly that; false when they declined.
    When they want something changed, call the action's own tool again instead.
    """
    raise NotImplementedError("run by the graph")


TOOL: BaseTool = _confirm


def with_confirm(tools: Mapping[str, BaseTool], asks: bool) -> dict[str, BaseTool]:
    """What the model may call: the same all through a conversation, as its memory must name nothing else. asks:
    whether one of the tools is confirmed by the caller."""
    return {**tools, CONFIRM: TOOL} if asks else dict(tools)


def latest(_: Pending | None, new: Pending | None) -> Pending | None:
    return new


def pin(before: Pending | None, key: str, call: str, name: str, arguments: dict[str, Any], question: str) -> Pending:
    """An action that waits for its question to be put. before: the one that waited."""
    again = before and _is_for(before, name, arguments) and before["question"] == question
    return Pending(
        key=key, call=call, name=name, arguments=arguments, question=question,
        question_id="", turns=0, heard=False, nearly=before.get("nearly", 0) if before and again else 0,
    )  # fmt: skip


def why_not_asked(pending: Pending | None, name: str, arguments: dict[str, Any]) -> str:
    """What the model is told when it calls the action once more whose question the caller has heard. Else empty."""
    return _ASKED_ALREADY if pending and pending["heard"] and _is_for(pending, name, arguments) else ""


def _is_for(pending: Pending, name: str, arguments: dict[str, Any]) -> bool:
    return pending["name"] == name and pending["arguments"] == arguments


def not_done_yet(question: str) -> str:
    """The result of a call that was pinned, in words for the model."""
    return _ASKED.format(question=question)


def heard(pending: Pending | None, messages: Sequence[AnyMessage]) -> Pending | None:
    """The pinned call as a new turn finds it: gone when its question was not heard, or is too old. Where the last word
    alone is missing, twice, the report lags behind what the caller hears and answers."""
    if pending is None or not still_asks(pending):
        return None
    question = next((m for m in messages if m.id == pending["question_id"]), None)
    if question is None:
        return None
    pending = {**pending, "turns": pending["turns"] + 1}
    if not was_interrupted(question):
        return {**pending, "heard": True}
    if count_words(pending["question"]) - count_words(question.text) > 1:
        return None
    nearly = pending.get("nearly", 0) + (pending["turns"] == 1)
    return {**pending, "heard": nearly > 1, "nearly": nearly}


def still_asks(pending: Pending) -> bool:
    """Whether the next turn may still answer the question."""
    return pending["turns"] < _TURNS


def only_asks(messages: Sequence[AnyMessage], pending: Pending | None) -> bool:
    """Whether the last step did nothing but pin a call: then the question is the answer."""
    if pending is None or pending["question_id"]:
        return False
    results = [m for m in last_turn(messages) if isinstance(m, ToolMessage)]
    calls = next((m.tool_calls for m in reversed(messages) if isinstance(m, AIMessage)), [])
    pinned = next(((c["name"], c["args"]) for c in calls if c["id"] == pending["call"]), None)
    return bool(results) and all((call["name"], call["args"]) == pinned for call in calls)


def answer_of(calls: Sequence[Mapping[str, Any]]) -> bool | None:
    """What the calls of `confirm` in one step come to, by their arguments; None when they contradict each other."""
    answers = {call["yes"] for call in calls}
    return answers.pop() if len(answers) == 1 else None


def not_confirmed(action: object | None) -> str:
    """What the model is told when its calls of `confirm` do nothing. action: what was to be confirmed, if anything."""
    return _CONTRADICTED if action else _NOTHING
