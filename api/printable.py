"""Text for a terminal, a log or a report, which others may have written: nothing in it is obeyed."""

from __future__ import annotations

import re

# Control characters, which a terminal obeys and XML cannot hold; what ends a line or turns its direction; and half
# characters, which cannot be encoded.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]")


def printable(text: str, keep: str = "\n\t") -> str:
    """The text with whatever is not to be printed spelled out, such as `\\x1b`. keep: characters that stay."""
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0] in keep else _spelled(found[0]), text)


def _spelled(character: str) -> str:
    return character.encode("unicode_escape").decode()
