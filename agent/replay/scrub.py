"""Taking what is private, and secrets, out of recorded JSON, so that it may stand in a repository.

Digits become 0 and letters x, a character for a character: the pieces of a stream keep their lengths, so that a
number that came in several chunks, or was sent in several events, is found as well, and the replay is cut where
the recording was.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from agent.replay.private import Private

Place = tuple[Any, Any]  # a list or dict, and where in it the text stands

_SHORTEST = 6  # characters of a secret


class Scrubber:
    """secrets: strings to be hidden. callers: who called; their numbers are found however they are written."""

    def __init__(self, secrets: Iterable[str], callers: Iterable[str]) -> None:
        self._private = Private(callers)
        longest_first = sorted(secrets, key=len, reverse=True)
        self._secrets = [secret for secret in longest_first if len(secret) >= _SHORTEST]

    def clean(self, value: Any) -> Any:
        """JSON without them: in its texts, its integers, and the names of its fields."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self.clean(item) for item in value]
        if isinstance(value, dict):
            return {self._text(key): self.clean(item) for key, item in value.items()}
        if isinstance(value, int) and not isinstance(value, bool) and self._private.is_integer(value):
            return 0
        return value

    def clean_together(self, places: Sequence[Place]) -> None:
        """The same, in place, for texts that make one only together."""
        whole, at = self._text("".join(holder[key] for holder, key in places)), 0
        for holder, key in places:
            begin, at = at, at + len(holder[key])
            holder[key] = whole[begin:at]

    def _text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "x" * len(secret))
        characters = list(text)
        for begin, end in self._private.in_text(text):
            characters[begin:end] = _hidden(text[begin:end])
        return "".join(characters)


def _hidden(text: str) -> str:
    return re.sub(r"[^\W\d_]", "x", re.sub(r"\d", "0", text))
