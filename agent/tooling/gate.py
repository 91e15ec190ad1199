"""The gate between the model's answer and the tools. Every call of an answer passes it before it is run.

A call that comes out of it names a tool there is, with arguments that the tool takes and has no objection to; or it is
refused, in words for the model. The same call twice in one step is one call: it is run once, and both get its result.
A step asks the caller one question at most. What comes out is what is asked about, run, journalled and replayed.
"""

from __future__ import annotations

import asyncio
import json
import string
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.messages import ToolCall as ModelToolCall
from langchain_core.tools import BaseTool

from agent.languages import all_of
from agent.storage import SAME_CALL
from agent.tooling.arguments import Refused, validated
from agent.tooling.call import ToolCall
from agent.tooling.decorator import options_of
from agent.turns import marker_of, tool_message

Check = Callable[[ToolCall], Awaitable[Mapping[str, Any] | None]]
"""Looks at a call: arguments to put in place of its own, or Refused."""

WhyNotAsked = Callable[[str, dict[str, Any]], str]
"""Of a call's name and arguments: why the caller is not asked about it, in words for the model; empty when they are."""

_ONE_AT_A_TIME = "Not done: another action waits for the caller's answer first. Call this again afterwards."


@dataclass(frozen=True)
class GatedCall:
    """A call that has been through the gate. twins: the ids of calls of its step that are the same. refused: why it
    must not be run, in words for the model; empty when it may be. `key`, `id`: as `ToolCall` has them."""

    key: str
    id: str
    name: str
    arguments: dict[str, Any]
    message: AIMessage
    tool: BaseTool | None
    twins: Sequence[str] = ()
    refused: str = ""

    @property
    def asks(self) -> bool:
        """Whether the caller is asked before it is run."""
        return not self.refused and self.tool is not None and bool(options_of(self.tool).confirm)

    @property
    def tool_call(self) -> ToolCall:
        """What is to be run, of a call that was not refused."""
        assert self.tool is not None  # noqa: S101 - one that names no tool is refused
        return ToolCall(self.key, self.id, self.tool, self.arguments, self.message, self.twins)

    def answers(self, text: str, *, failed: bool = False) -> list[ToolMessage]:
        """What the model is told of the call, and of those that are the same."""
        ids = (self.id, *self.twins)
        return [tool_message(text, call_id=id_, name=self.name, failed=failed, marker="not run") for id_ in ids]

    def share(self, result: ToolMessage) -> list[ToolMessage]:
        """The call's result, also for those that are the same. While it is to come it stands with the first alone."""
        changed: dict[str, Any] = {"content": SAME_CALL, "additional_kwargs": {}}
        twin = result.model_copy(update=changed if marker_of(result) == "running" else {})
        return [result, *(twin.model_copy(update={"tool_call_id": id_}) for id_ in self.twins)]


async def through_gate(
    message: AIMessage, tools: Mapping[str, BaseTool], check: Check, why_not_asked: WhyNotAsked
) -> list[GatedCall]:
    """The calls of an answer, each that is different once, in their order. tools: those that were declared."""
    calls = _folded([_admitted(call, message, tools) for call in message.tool_calls])
    return _one_question(await asyncio.gather(*(_checked(call, check) for call in calls)), why_not_asked)


def _admitted(made: ModelToolCall, message: AIMessage, tools: Mapping[str, BaseTool]) -> GatedCall:
    id_, name, tool = made["id"] or "", made["name"], tools.get(made["name"])
    call = GatedCall(f"{message.id}/{made['id']}", id_, name, made["args"], message, tool)
    if tool is None:
        return replace(call, refused=f"There is no tool {call.name}. There are: {', '.join(tools) or 'none'}.")
    try:
        return replace(call, arguments=validated(tool, call.arguments))
    except Refused as why:
        return replace(call, refused=str(why))


def _folded(calls: Sequence[GatedCall]) -> list[GatedCall]:
    kinds: dict[str, list[GatedCall]] = {}
    for call in calls:
        kinds.setdefault(f"{call.name} {json.dumps(call.arguments, sort_keys=True, default=str)}", []).append(call)
    return [replace(first, twins=[other.id for other in others]) for first, *others in kinds.values()]


async def _checked(call: GatedCall, check: Check) -> GatedCall:
    if call.refused:
        return call
    try:
        if changed := await check(call.tool_call):
            arguments = validated(call.tool_call.tool, {**call.arguments, **changed})
            call = replace(call, arguments=arguments)
        _without_a_hole(call.tool_call)
    except Refused as why:
        return replace(call, refused=str(why))
    return call


def _one_question(calls: Sequence[GatedCall], why_not_asked: WhyNotAsked) -> list[GatedCall]:
    """Of the calls that the caller would have to be asked about, the first one is."""
    asked, left = False, []
    for call in calls:
        if call.asks:
            refused = why_not_asked(call.name, call.arguments) or (_ONE_AT_A_TIME if asked else "")
            call, asked = replace(call, refused=refused), asked or not refused
        left.append(call)
    return left


def _without_a_hole(call: ToolCall) -> None:
    """Refused when the question that the caller is to be asked lacks a value."""
    questions, values = all_of(options_of(call.tool).confirm or ""), call.values
    asked = [name for question in questions for _, name, _, _ in string.Formatter().parse(question) if name]
    missing = [name for name in asked if values.get(name) in (None, [], {}) or not str(values[name]).strip()]
    if missing:
        names = ", ".join(dict.fromkeys(missing))
        raise Refused(
            f"Nothing was done, and the caller was not asked to confirm it, as this is missing: {names}. Ask the"
            " caller for it, and then call this again."
        )
