"""The mark of an answer that was interrupted, in the message's metadata."""

from __future__ import annotations

from langchain_core.messages import AIMessage, AnyMessage


def interrupted_message(text: str, id_: str | None) -> AIMessage:
    """An assistant's message that holds what was sent, or heard, of its answer."""
    return AIMessage(text, id=id_, additional_kwargs={"interrupted": True})


def was_interrupted(message: AnyMessage) -> bool:
    return bool(message.additional_kwargs.get("interrupted"))
