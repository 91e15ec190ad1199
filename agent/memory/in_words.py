"""Tool calls that the model is told of in words: the provider would not take them as calls.

It refuses a history that names a function which is not declared now (a tool that is gone, a name that the model made
up), and one whose calls have lost their signature.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolCall, ToolMessage

from agent.languages import own_line
from agent.speech import speakable
from agent.turns import is_told_in_words, marker_of, system_note

_LONGEST_ARGUMENTS = 1_000  # characters
_LONGEST_SAID = 400  # characters of results that a caller is read
DONE = "That is done."


def in_words(fit: Sequence[AnyMessage], declared: Collection[str]) -> Iterator[AnyMessage]:
    """The repaired memory with such steps as system notes. declared: the functions that the model may call now."""
    results = {(id(step), m.tool_call_id): m for step, m in _results(fit)}
    told: AIMessage | None = None
    for message in fit:
        if isinstance(message, ToolMessage):
            if told is None:
                yield message
            continue
        told = message if isinstance(message, AIMessage) and _must_be_told(message, declared) else None
        if told is None:
            yield message
            continue
        if text := told.text.strip():
            yield AIMessage(text, id=told.id)
        yield HumanMessage("\n".join(_note(call, results[id(told), call["id"] or ""]) for call in told.tool_calls))


def _results(fit: Sequence[AnyMessage]) -> Iterator[tuple[AnyMessage, ToolMessage]]:
    """Each result with the message of its call, which it stands behind."""
    step = fit[0] if fit else None
    for message in fit:
        if isinstance(message, ToolMessage):
            assert step is not None  # noqa: S101 - for the type
            yield step, message
        else:
            step = message


def _must_be_told(message: AIMessage, declared: Collection[str]) -> bool:
    return bool(message.tool_calls) and (
        is_told_in_words(message) or any(call["name"] not in declared for call in message.tool_calls)
    )


def _note(call: ToolCall, result: ToolMessage) -> str:
    arguments = json.dumps(call["args"], ensure_ascii=False, default=str)[:_LONGEST_ARGUMENTS]
    return system_note(f"You called {call['name']} with {arguments}. Its result: {result.text}")


def found(messages: Sequence[AnyMessage], actions: Collection[str], language: str) -> str:
    """What a caller is told of this turn's results when the model says nothing: those that can be read out, or that it
    was done. Empty when there are none. actions: the tools that do something."""
    last = max((at for at, m in enumerate(messages) if isinstance(m, HumanMessage)), default=-1)
    good = [
        m for m in messages[last + 1 :]
        if isinstance(m, ToolMessage) and m.status == "success" and marker_of(m) is None
    ]  # fmt: skip
    said = dict.fromkeys(m.text.strip() for m in good if _can_be_said(m.text.strip()))
    text = " ".join(said)
    if text and len(text) <= _LONGEST_SAID:
        return speakable(text)
    return own_line(DONE, language) if any(m.name in actions for m in good) else ""


def _can_be_said(text: str) -> bool:
    return bool(speakable(text)) and text[0] not in "{[<" and len(text) <= _LONGEST_SAID
