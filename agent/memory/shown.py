"""What the model is shown of a conversation, and once more when its provider refuses that."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage

from agent.memory import history
from agent.turns import told_in_words

log = logging.getLogger(__name__)


class Shown:
    """messages: the prompt, and the repaired memory `fit`. declared: the functions that the model may call now.
    retold: whether the provider has refused them."""

    def __init__(self, prompt: str, fit: Sequence[AnyMessage], declared: Collection[str]) -> None:
        self._prompt, self._fit = SystemMessage(prompt), fit
        self.messages = [self._prompt, *history.shown(fit, declared)]
        self.retold = False

    def retell(self) -> Sequence[AnyMessage]:
        """All tool calls in words; if there are none, only the caller's newest words and the notes behind them."""
        self.retold = True
        plain = [self._prompt, *history.shown(self._fit, ())]
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
