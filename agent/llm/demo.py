"""A stand-in for a language model, so that the first minute needs no key.

It understands nothing. It looks for the words of the question in the names and descriptions of the tools, fills
their arguments from it, really calls them, and reads out what they return. What it does not find it asks for. It says
that it is a demo.
"""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from agent.llm.demo_sentence import UNCLEAR, find_date, find_number, find_subject, find_time
from agent.turns import words_behind_notes

_IS_DEMO = "This is the demo: no language model, only your tools."
_COMMON = {"the", "and", "for", "with", "what", "how", "are", "was", "were", "you", "your", "can", "could", "have",
           "please", "tell", "about", "this", "that", "there", "now", "like"}  # fmt: skip
_YES = re.compile(r"\b(yes|yeah|yep|sure|ok|okay|do it|go ahead)\b")
_BYE = re.compile(r"\b(good)?bye\b")
_END_CALL = "end_call"
_NO = re.compile(r"\b(no|nope|not|don['’]t|cancel|stop)\b")


class DemoModel(BaseChatModel):
    """`word_delay`: seconds between words."""

    word_delay: float = 0.03

    @property
    def _llm_type(self) -> str:
        return "demo"

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], **kwargs: Any
    ) -> Runnable[Any, AIMessage]:
        tools = [] if kwargs.pop("tool_choice", None) == "none" else tools
        return self.bind(functions=[convert_to_openai_tool(tool)["function"] for tool in tools], **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        chunks = list(_answer(messages, _functions(kwargs)))
        text = "".join(chunk.text for chunk in chunks)
        calls = [call for chunk in chunks for call in chunk.tool_calls]
        return ChatResult(generations=[ChatGeneration(message=AIMessage(text, tool_calls=calls))])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in _answer(messages, _functions(kwargs)):
            yield ChatGenerationChunk(message=chunk)
            await asyncio.sleep(self.word_delay)


def _functions(options: dict[str, Any]) -> Sequence[dict[str, Any]]:
    """Those that may be called."""
    return [] if options.get("tool_choice") == "none" else options.get("functions", [])


def _answer(messages: Sequence[BaseMessage], functions: Sequence[dict[str, Any]]) -> Iterator[AIMessageChunk]:
    """A tool call, or words one at a time."""
    question = next((m.text for m in reversed(messages) if isinstance(m, HumanMessage)), "")
    question = words_behind_notes(question)
    results = [m.text for m in _since_question(messages) if isinstance(m, ToolMessage)]
    goodbye = _BYE.search(question.lower()) and next((f for f in functions if f["name"] == _END_CALL), None)
    function = None if results else goodbye or _matching(question, functions)
    arguments, missing = _fill(function, question) if function else ({}, [])
    if function and not missing:
        call = tool_call_chunk(name=function["name"], args=json.dumps(arguments), id=uuid.uuid4().hex, index=0)
        yield AIMessageChunk(content="Goodbye." if goodbye else "", tool_call_chunks=[call])
        return
    said_before = any(isinstance(m, AIMessage) and _IS_DEMO in m.text for m in messages)
    text = " ".join(results) or (_what_it_needs(missing) if missing else _what_it_can(functions))
    for word in re.findall(r"\s*\S+", text if said_before else f"{_IS_DEMO} {text}"):
        yield AIMessageChunk(content=word)


def _since_question(messages: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
    last = max((i for i, m in enumerate(messages) if isinstance(m, HumanMessage)), default=-1)
    return messages[last + 1 :]


def _what_it_can(functions: Sequence[dict[str, Any]]) -> str:
    names = ", ".join(function["name"].replace("_", " ") for function in functions if function["name"] != "confirm")
    return f"I found no tool for that. The tools here are: {names or 'none'}."


def _what_it_needs(missing: Sequence[str]) -> str:
    names = " and ".join(name.replace("_", " ") for name in missing)
    return f"I did not understand this: {names}. Please say all of it again in one sentence."


def _matching(question: str, functions: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The function that shares most words with the question: in its name, then its description's first paragraph."""
    waiting = next((f for f in functions if f["name"] == "confirm"), None)
    if waiting and (_YES.search(question.lower()) or _NO.search(question.lower())):
        return waiting
    words = _words(question) - _COMMON
    scored = [(_score(words, f), f) for f in functions if f["name"] != "confirm"]
    best = max(scored, key=lambda pair: pair[0], default=(0, None))
    return best[1] if best[0] else None


def _score(words: set[str], function: dict[str, Any]) -> int:
    description = function.get("description", "")
    name, first, whole = _words(function["name"]), _words(description.partition("\n\n")[0]), _words(description)
    return sum(4 * (word in name) + 2 * (word in first) + (word in whole) for word in words)


def _words(text: str) -> set[str]:
    return {word.removesuffix("s") for word in re.findall(r"[^\W\d_]{3,}", text.lower())}


def _fill(function: dict[str, Any], question: str) -> tuple[dict[str, Any], list[str]]:
    """The arguments that the question has, and the names of those that are to be asked for."""
    schema = function.get("parameters", {})
    required = schema.get("required", [])
    values = {n: _value(n, f, question, required=n in required) for n, f in schema.get("properties", {}).items()}
    missing = [n for n, value in values.items() if value == UNCLEAR or (value is None and n in required)]
    return {n: value for n, value in values.items() if value is not None}, missing


def _value(name: str, field: dict[str, Any], question: str, *, required: bool) -> Any:
    """None if the question does not have it, UNCLEAR if it is not understood."""
    kinds = {field.get("type"), *(option.get("type") for option in field.get("anyOf", []))}
    if "boolean" in kinds:
        return not _NO.search(question.lower()) if required else None
    if "enum" in field:
        named = [value for value in field["enum"] if _words(str(value)) & _words(question)]
        return (named or field["enum"])[0] if named or required else None
    if kinds & {"integer", "number"}:
        return find_number(question)
    for hint, find in (("time", find_time), ("date", find_date)):
        if hint in name.split("_"):
            return find(question)
    return find_subject(question) if required else None
