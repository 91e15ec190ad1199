"""How messages are made, and what their metadata says of them.

Words that the system puts into a tool's or the model's mouth carry a marker: by it they are recognised, as their text
may be reworded. Markers stand in `additional_kwargs`, which the checkpointer keeps and no provider is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolCall, ToolMessage

from agent.turns.legacy import marker_of_text
from agent.turns.notes import without_note_marks

Marker = Literal[
    "running", "unknown", "not started", "stopped", "timed out", "not run", "apology", "unsaid", "taken up"
]  # fmt: skip

_MARKER = "marker"
_INTERRUPTED = "interrupted"
_IN_WORDS = "in words"
_OWN = "own"  # of an answer that ends in the apology: how many of its characters are the model's
_CUT = "cut"  # why the model did not end an answer itself
OUR_METADATA = frozenset({_MARKER, _INTERRUPTED, _OWN, _CUT})  # keys of `additional_kwargs` that no provider reads


def tool_message(
    text: str,
    *,
    call_id: str | None,
    name: str | None,
    failed: bool = False,
    marker: Marker | None = None,
    id_: str | None = None,
) -> ToolMessage:
    """What the model is told of a call. marker: the words are the system's, and stand for this."""
    return ToolMessage(
        without_note_marks(text),
        tool_call_id=call_id or "",
        name=name,
        status="error" if failed else "success",
        id=id_,
        additional_kwargs={_MARKER: marker} if marker else {},
    )


def interrupted_message(text: str, id_: str | None) -> AIMessage:
    """An assistant's message that holds what was sent, or heard, of its answer."""
    return AIMessage(text, id=id_, additional_kwargs={_INTERRUPTED: True})


def cut_message(message: AnyMessage, text: str) -> AIMessage:
    """An assistant's message without tool calls, cut to its beginning `text`."""
    ours = {name: value for name, value in message.additional_kwargs.items() if name in OUR_METADATA}
    return AIMessage(text, id=message.id, additional_kwargs={**ours, _INTERRUPTED: True})


def told_in_words(message: AIMessage, calls: Sequence[ToolCall] | None = None) -> AIMessage:
    """A message with tool calls that no provider is shown as it is: it is told in words (agent/memory/in_words.py).
    calls: in place of its own; then it has only its text beside them, and no signature."""
    if calls is not None:
        message = AIMessage(message.text, id=message.id, tool_calls=[*calls], usage_metadata=message.usage_metadata)
    return message.model_copy(update={"additional_kwargs": {**message.additional_kwargs, _IN_WORDS: True}})


def is_told_in_words(message: AnyMessage) -> bool:
    return bool(message.additional_kwargs.get(_IN_WORDS))


def caller_message(lines: Sequence[str], id_: str, *, takes_up: bool = False) -> HumanMessage:
    """What stands in the caller's name: system notes, then their words. takes_up: there are none, and the assistant
    is to take up what it was interrupted in."""
    return HumanMessage("\n".join(lines), id=id_, additional_kwargs={_MARKER: "taken up"} if takes_up else {})


def apology_message(text: str, id_: str, *, own: int, reason: str) -> AIMessage:
    """An answer that the model did not end itself, and that ends in the system's apology. own: how many of its
    characters are the model's. reason: why, as in the log."""
    return AIMessage(text, id=id_, additional_kwargs={_MARKER: "apology", _OWN: own, _CUT: reason})


def unsaid_message() -> AIMessage:
    """Stands where the assistant did not come to an answer."""
    return AIMessage("…", additional_kwargs={_MARKER: "unsaid"})


def was_interrupted(message: AnyMessage) -> bool:
    return bool(message.additional_kwargs.get(_INTERRUPTED))


def marker_of(message: AnyMessage) -> Marker | None:
    """What the words stand for, if they are the system's."""
    marker: Marker | None = message.additional_kwargs.get(_MARKER)
    if marker is None and isinstance(message, ToolMessage):
        return marker_of_text(message.text, message.name)
    return marker


def own_and_apology(message: AnyMessage) -> tuple[str, str]:
    """The speaker's own words, and the apology in which an answer may end."""
    own = message.additional_kwargs.get(_OWN, 0) if marker_of(message) == "apology" else None
    return message.text[:own].strip(), "" if own is None else message.text[own:].strip()
