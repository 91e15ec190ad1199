"""Which tool a call means, where the model has not written its name as it was declared.

Models write `default_api.clock`, `functions.clock`, or a whole line of code, `print(default_api.clock(place="Oslo"))`.
It is that tool where no other can be meant. A name that no provider would take back in a history is never stored.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from langchain_core.messages import AIMessage, ToolCall

from agent.turns import told_in_words

_NAMESPACES = {"default_api", "functions", "function", "tools", "tool", "api"}
_LEGAL = re.compile(r"[A-Za-z_][\w.:-]{0,63}", re.ASCII)
_LONGEST_CODE = 4_000  # characters


def with_names(answer: AIMessage, tools: Collection[str]) -> AIMessage | None:
    """The answer, its calls under the names of the tools they mean. None when a call has no name that could be stored.

    An answer whose calls had to be changed is another message, without the provider's signatures: it is told in words.
    A name that is legal and means no tool stays: the model is told that there is none.
    """
    calls = [_meant(call, tools) for call in answer.tool_calls]
    if calls == answer.tool_calls:
        return answer
    named = [call for call in calls if call]
    return told_in_words(answer, named) if len(named) == len(calls) else None


def without_calls(answer: AIMessage) -> AIMessage | None:
    """The words of an answer that should not have called anything. None when there are none."""
    if not answer.tool_calls:
        return answer
    text = answer.text.strip()
    return AIMessage(text, id=answer.id, usage_metadata=answer.usage_metadata) if text else None


def _meant(call: ToolCall, tools: Collection[str]) -> ToolCall | None:
    if call["name"] in tools:
        return call
    name, arguments = _parsed(call["name"].strip())
    tool = _tool(name, tools)
    if tool and not (arguments and call["args"] and arguments != call["args"]):
        return {**call, "name": tool, "args": call["args"] or arguments}
    return call if _LEGAL.fullmatch(call["name"]) else None


def _tool(name: str, tools: Collection[str]) -> str | None:
    *spaces, last = re.split(r"[.:/]", name)
    return last if last in tools and all(space in _NAMESPACES for space in spaces) else None


def _parsed(text: str) -> tuple[str, dict[str, Any]]:
    """The name in a line of code that is one call with plain values, and those; else the text itself."""
    with suppress(SyntaxError, ValueError, MemoryError, RecursionError):
        code = ast.parse(text[:_LONGEST_CODE], mode="eval").body
        if isinstance(code, ast.Call) and ast.unparse(code.func) == "print" and len(code.args) == 1:
            code = code.args[0]
        if isinstance(code, ast.Call) and not code.args:
            values = {keyword.arg or "**": ast.literal_eval(keyword.value) for keyword in code.keywords}
            return ast.unparse(code.func), values
        return ast.unparse(code), {}
    return text, {}
