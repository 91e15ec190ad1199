"""Taking phone numbers and secrets out of recorded JSON, so that it may stand in a repository.

Digits become 0 and secrets x, a character for a character: the pieces of a stream keep their lengths, so that a
number that came in several chunks, or was sent in several events, is found as well, and the replay is cut where
the recording was.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

Place = tuple[Any, Any]  # a list or dict, and where in it the text stands

_GAP = r"[\s().-]{0,2}"
_INTERNATIONAL = rf"\+\d(?:{_GAP}\d){{6,14}}(?!\d)"
_AMERICAN = r"(?<![\d.-])\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}(?![\d-])"
_SHORTEST = 6  # characters of a secret
_SURELY = 9  # the last digits of a caller's number, however it begins: +49 30 …, 030 …


class Scrubber:
    """secrets: strings to be hidden. callers: who called; their numbers are found however they are written."""

    def __init__(self, secrets: Iterable[str], callers: Iterable[str]) -> None:
        known = [_written_as(digits) for caller in callers if len(digits := re.sub(r"\D", "", caller)) >= _SHORTEST]
        self._number = re.compile("|".join([*known, _INTERNATIONAL, _AMERICAN]))
        self._secrets = [secret for secret in secrets if len(secret) >= _SHORTEST]

    def clean(self, value: Any) -> Any:
        """JSON without them: in its texts, and in the names of its fields."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self.clean(item) for item in value]
        if isinstance(value, dict):
            return {self._text(key): self.clean(item) for key, item in value.items()}
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
        return self._number.sub(lambda found: re.sub(r"\d", "0", found[0]), text)


def _written_as(digits: str) -> str:
    """A pattern for a number with or without its beginning, a nought before the rest, and gaps."""
    beginning, rest = digits[:-_SURELY], digits[-_SURELY:]
    optional = "".join(f"(?:{digit}{_GAP})?" for digit in beginning)
    return rf"(?<!\d)\+?(?:0{_GAP})?{optional}(?:0{_GAP})?{_GAP.join(rest)}(?!\d)"
