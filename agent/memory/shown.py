"""What the model is shown of a conversation, and once more when its provider refuses that."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage

from agent.memory import notes
from agent.memory.in_words import in_words
from agent.turns import marker_of, own_and_apology, told_in_words, unsaid_message

log = logging.getLogger(__name__)


def shown(fit: Sequence[AnyMessage], declared: Collection[str] | None = None) -> list[AnyMessage]:
    """What the model is shown of the repaired memory: neighbours of one speaker are made one where they may be, and
    calls of functions that are not declared are told in words. declared: None for whatever is called."""
    merged: list[AnyMessage] = []
    told = fit if declared is None else in_words(fit, declared)
    for message in (part for whole in told for part in _without_apology(whole)):
        last = merged[-1] if merged else None
        if isinstance(last, HumanMessage) and isinstance(message, HumanMessage):
            merged[-1] = HumanMessage(f"{last.text}\n{message.text}", id=message.id or last.id)
        elif isinstance(last, AIMessage) and isinstance(message, AIMessage):
            if last.tool_calls or message.tool_calls:
                merged += [HumanMessage(notes.SILENCE), message]
            else:
                merged[-1] = AIMessage(f"{last.text} {message.text}", id=message.id)
        elif isinstance(last, ToolMessage) and isinstance(message, HumanMessage):
            merged += [unsaid_message(), message]
        else:
            merged.append(message)
    return merged


def _without_apology(message: AnyMessage) -> list[AnyMessage]:
    """The message; of an answer that ends in the apology the model's own words, and a note of what was heard then."""
    if not isinstance(message, AIMessage) or marker_of(message) != "apology":
        return [message]
    own, apology = own_and_apology(message)
    note = HumanMessage(notes.not_ended(own, apology))
    return [AIMessage(own, id=message.id), note] if own else [note]


class Shown:
    """messages: the prompt, and the repaired memory `fit`. declared: the functions that the model may call now.
    retold: whether the provider has refused them."""

    def __init__(self, prompt: str, fit: Sequence[AnyMessage], declared: Collection[str]) -> None:
        self._prompt, self._fit = SystemMessage(prompt), fit
        self.messages = [self._prompt, *shown(fit, declared)]
        self.retold = False

    def retell(self) -> Sequence[AnyMessage]:
        """All tool calls in words; if there are none, only the caller's newest words and the notes behind them."""
        self.retold = True
        plain = [self._prompt, *shown(self._fit, ())]
        steps = [message for message in self.messages if isinstance(message, AIMessage) and message.tool_calls]
        if not steps:
            log.warning("the model has refused the history; %d messages before this turn are left out", len(plain) - 2)
            return [self._prompt, _newest_words(plain)]
        names = ", ".join(dict.fromkeys(call["name"] for step in steps for call in step.tool_calls))
        log.warning("the model has refused the history; %d tool steps are told in words: %s", len(steps), names)
        return plain


def _newest_words(plain: Sequence[AnyMessage]) -> HumanMessage:
    mine = [at for at, message in enumerate(plain) if (message.id or "").startswith(("message:", "welcome:"))]
    last = [message for message in plain[mine[-1] if mine else -1 :] if isinstance(message, HumanMessage)]
    return HumanMessage("\n".join(message.text for message in last), id=last[0].id)


def all_in_words(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """The messages; those that carry tool calls are told in words from now on."""
    return [told_in_words(m) if isinstance(m, AIMessage) and m.tool_calls else m for m in messages]
