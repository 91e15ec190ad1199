"""What the model is shown of an earlier turn, against what the caller heard of it."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage

from agent.speech import speakable
from agent.turns import Say, Turn


def prompt_of(turn: Turn) -> str | None:
    """The prompt that its model was given. None when it was not asked."""
    messages = turn.model_calls[0].messages if turn.model_calls else ()
    return next((message.text for message in messages if isinstance(message, SystemMessage)), None)


def remembered_otherwise(turn: Turn, before: Turn, heard: str) -> str | None:
    """What the model is shown of the turn `before`, where it is not what was heard of that, in a sentence. heard: the
    words from its beginning. None when all is well, or nothing of that turn is shown any more."""
    if not turn.model_calls:
        return None
    shown = turn.model_calls[0].messages
    kept = f"{before.request.kind}:{before.request.turn_id}"
    if not any(isinstance(message, HumanMessage) and message.id == kept for message in shown):
        return None
    remembered, answered = words_shown(shown, before.request.turn_id), _answer(before, shown, len(heard)).split()
    if not is_within(remembered, heard.split()):
        return f"the model remembers {_said(remembered)!r} of an answer of which only {heard.strip()!r} was heard"
    if not before.failed and not is_within(answered, remembered):
        return f"the model remembers {_said(remembered)!r} of an answer of which {_said(answered)!r} was heard"
    return None


def words_shown(messages: Sequence[AnyMessage], turn_id: str) -> list[str]:
    """The words of a turn's answer, as they are spoken. A message with tool calls is never rebuilt, and is left out."""
    mine = [m for m in messages if isinstance(m, AIMessage) and (m.id or "").startswith(f"{turn_id}/")]
    return " ".join(speakable(m.text) for m in mine if not m.tool_calls).split()


def is_within(words: Sequence[str], others: Sequence[str]) -> bool:
    """Whether `words` stand in `others` in that order; others may stand between."""
    rest = iter(others)
    return all(word in rest for word in words)


def _answer(turn: Turn, shown: Sequence[AnyMessage], end: int) -> str:
    """The model's own words among the first so many characters, without those of messages that carry tool calls."""
    carrying = {message.id for message in shown if isinstance(message, AIMessage) and message.tool_calls}
    made, position = "", 0
    for event in (sent.event for sent in turn.events if isinstance(sent.event, Say)):
        if event.of is not None and event.of not in carrying:
            made += event.text[: max(0, end - position)]
        position += len(event.text)
    return made


def _said(words: Sequence[str]) -> str:
    return " ".join(words)
