"""An answer that goes on from what another attempt has said of it already."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

from agent.turns import system_note

GO_ON = system_note(
    "Your answer broke off after the words above, which the caller has heard. Go on from there, without them."
)
_CLOSING = " .,;:!?…\n"


def with_what_was_said(messages: Sequence[AnyMessage], said: Sequence[AIMessage]) -> list[AnyMessage]:
    """What the model is shown when it is to go on from there. said: what earlier attempts have said of this answer."""
    return [*messages, AIMessage(joined(said)), HumanMessage(GO_ON)] if said else [*messages]


def joined(said: Sequence[AIMessage]) -> str:
    return " ".join(message.text for message in said)


def counted_on(id_: str, said: Sequence[AIMessage]) -> str:
    """The id of the next message of an answer whose first has this one: `turn/0`, `turn/1` …"""
    turn, _, number = id_.rpartition("/")
    return f"{turn}/{int(number) + len(said)}"


class Continuation:
    """Takes from the beginning of a text what was said before, if it begins with all of that again. Letters and digits
    count, not how they are set. Nothing is held back but what is the same so far. `repeats`: it did."""

    def __init__(self, said: str) -> None:
        self.repeats = False
        self._said = _letters(said)
        self._held = ""

    def feed(self, text: str) -> str:
        if not self._said:
            return text
        self._held += text
        letters = _letters(self._held)
        self.repeats = letters.startswith(self._said)
        if self._said.startswith(letters):
            return ""
        rest = self._after_said(self._held) if self.repeats else self._held
        self._said = self._held = ""
        return rest

    def _after_said(self, text: str) -> str:
        count = 0
        for at, char in enumerate(text):
            count += len(_letters(char))
            if count == len(self._said):
                return text[at + 1 :].lstrip(_CLOSING)
        return ""


def _letters(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalnum())
