"""The memory of a request that brings all of its conversation."""

from __future__ import annotations

from collections.abc import Iterator

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

from agent.turns import Speaker, TurnRequest, without_note_marks


def given(request: TurnRequest) -> list[AnyMessage]:
    """What was said before, as its client tells it: words alone, whoever they are said to be of."""
    return list(_messages(request))


def _messages(request: TurnRequest) -> Iterator[AnyMessage]:
    for number, (who, text) in enumerate(request.before or ()):
        if words := without_note_marks(text).strip():
            yield _message(who, words, f"{request.turn_id}-{number}")


def _message(who: Speaker, words: str, turn: str) -> AnyMessage:
    return HumanMessage(words, id=f"message:{turn}") if who == "caller" else AIMessage(words, id=f"{turn}/0")
