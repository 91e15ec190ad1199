"""The marks of an answer that did not come to its end, in the message's metadata."""

from __future__ import annotations

from langchain_core.messages import AIMessage, AnyMessage

MARKS = frozenset(("interrupted", "cut"))  # in `additional_kwargs`


def interrupted_message(text: str, id_: str | None) -> AIMessage:
    """An assistant's message that holds what was sent, or heard, of its answer."""
    return AIMessage(text, id=id_, additional_kwargs={"interrupted": True})


def was_interrupted(message: AnyMessage) -> bool:
    return bool(message.additional_kwargs.get("interrupted"))


def cut_message(text: str, id_: str | None, reason: str) -> AIMessage:
    """An answer that the model did not end itself: what was said of it, and the sentence of ours at its end.
    reason: why, as in the log."""
    return AIMessage(text, id=id_, additional_kwargs={"cut": reason})
