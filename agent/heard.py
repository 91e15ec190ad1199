"""Which of the words that were sent the caller heard.

The platform reports the words it had spoken when the caller interrupted. They are the words that were sent,
but they went through a speech synthesiser: case, punctuation and spaces differ, "14" may have become
"fourteen", a progress line may be missing at the front. So the two are aligned word by word: the place in the
sent words is sought up to which they differ least from the heard ones (edit distance), where whole utterances
may be missing before.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_WORD = re.compile(r"\S+")
_LONGEST = 300  # words compared at most: the alignment costs their product


@dataclass(frozen=True)
class _Word:
    key: str
    end: int  # where it ends in the joined text
    starts_utterance: bool


def heard_parts(said: Sequence[tuple[str | None, str]], heard: str | None) -> dict[str, tuple[str, bool]]:
    """For each message id in `said` (id or None for progress, text): what was heard of it, and whether all.

    heard: the platform's words; None when it reported none: then everything that was sent counts.
    """
    joined = "".join(text for _, text in said)
    end = len(joined) if heard is None else heard_until(said, heard)
    parts: dict[str, tuple[str, bool]] = {}
    position = 0
    for of, text in said:
        if of is not None:
            before, whole = parts.get(of, ("", True))
            parts[of] = (
                before + text[: max(0, end - position)],
                whole and end >= position + len(text.rstrip()),
            )
        position += len(text)
    return {of: (text.strip(), whole) for of, (text, whole) in parts.items()}


def heard_until(said: Sequence[tuple[str | None, str]], heard: str) -> int:
    """Where in the joined text of `said` the caller stopped listening, in characters."""
    sent = _words(said)
    words = [key for match in _WORD.finditer(heard) if (key := _key(match.group()))]
    if not words:
        return 0
    if [word.key for word in sent[: len(words)]] == words:
        return sent[len(words) - 1].end
    return _closest(sent[: 2 * _LONGEST], words[:_LONGEST])


def _words(said: Sequence[tuple[str | None, str]]) -> list[_Word]:
    joined = "".join(text for _, text in said)
    starts, position, last = set(), 0, object()
    for of, text in said:
        if of is None or of != last:
            starts.add(position + len(text) - len(text.lstrip()))
        last = of
        position += len(text)
    return [
        _Word(key, match.end(), match.start() in starts)
        for match in _WORD.finditer(joined)
        if (key := _key(match.group()))
    ]


def _key(word: str) -> str:
    """The word without what a synthesiser may change. Empty for mere punctuation."""
    folded = unicodedata.normalize("NFKC", word).casefold()
    return "".join(c for c in folded if c.isalnum() or unicodedata.category(c).startswith("M"))


def _closest(sent: list[_Word], heard: list[str]) -> int:
    """The end of the prefix of `sent` with the least edit distance to `heard`; of equals the longest, except
    that a word heard in part only is not heard."""
    costs = [0]
    for following in [*sent[1:], None]:
        costs.append(0 if following and following.starts_utterance else costs[-1] + 1)
    for count, said in enumerate(heard, 1):
        row = [count]
        for i, word in enumerate(sent):
            row.append(min(costs[i] + (word.key != said), costs[i + 1] + 1, row[i] + 1))
        costs = row
    best = min(costs)
    ends = [i for i, cost in enumerate(costs) if cost == best]
    end = ends[-1]
    if end and sent[end - 1].key != heard[-1] and sent[end - 1].key.startswith(heard[-1]):
        end -= 1
    return sent[end - 1].end if end else 0
