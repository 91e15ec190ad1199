"""An answer that goes on from what another attempt has said of it already."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

from agent.turns import system_note

GO_ON = system_note(
    "Your answer broke off after the words above, which the caller has heard. Go on from there, without them."
)
_CLOSING = " .,;:!?…\n"


def with_what_was_said(messages: Sequence[AnyMessage], said: str) -> list[AnyMessage]:
    """What the model is shown when it is to go on from there."""
    return [*messages, AIMessage(said), HumanMessage(GO_ON)] if said else [*messages]


class Continuation:
    """Takes from the beginning of a text what was said before, if it begins with all of that again. Letters and digits
    count, not how they are set. Nothing is held back but what is the same so far."""

    def __init__(self, said: str) -> None:
        self._said = _letters(said)
        self._held = ""

    def feed(self, text: str) -> str:
        if not self._said:
            return text
        self._held += text
        letters = _letters(self._held)
        if self._said.startswith(letters):
            return ""
        rest = self._after_said(self._held) if letters.startswith(self._said) else self._held
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
