"""Which of the words that were sent the caller heard.

The platform reports the words it had spoken when the caller interrupted. They are the words that were sent,
but they went through a speech synthesiser: case, punctuation and spaces differ, "14" may have become
"fourteen", a progress line may be missing. So the two are aligned, word by word, where they differ least:

    a word differs, is missing, or was put in      2
    the same about a number: it is spoken in as many words as it takes      1
    two words were made one, or one was made two      1
    an utterance is missing as a whole      1

Of equally good places the last one counts, so of words that were never sent each counts for one. A script
that is written without spaces is compared by the character.

Some platforms report a fragment: the words since some earlier point, up to the interruption. It is looked for in all of
the sent words, and ends where it fits best; of equally good places at the last one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from agent.turns import HeardKind

# Thai and Lao, Burmese, Khmer, kana, Han.
_UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    r"\uff66-\uff9f\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{_UNSPACED}]|[^\s\-/\u2010-\u2015{_UNSPACED}]+")
_IN_WORD = re.compile(rf"[^\s{_UNSPACED}]")
_COUNTED = re.compile(rf"[{_UNSPACED}][^\w\s]*|[^\s{_UNSPACED}]+")

_DIFFERENT, _ALMOST = 2, 1
_CERTAIN = 5  # equal words in a row after which no other way is looked at
_PATIENCE = 5_000  # places looked at


@dataclass(frozen=True)
class _Word:
    key: str
    end: int  # where it ends in the text
    next_utterance: int | None = None  # the word that begins it, on a word that begins one itself


def heard_parts(
    said: Sequence[tuple[str | None, str]], heard: str | None, kind: HeardKind = "exact"
) -> dict[str, tuple[str, bool]]:
    """For each message id in `said` (id or None for progress, text): what was heard of it, and whether all.

    heard: the platform's words; None when it reported none: then everything that was sent counts.
    kind: see `HeardReport`.
    """
    end = _end_of(said, heard, kind)
    parts: dict[str, tuple[str, bool]] = {}
    for of, text in said:
        if of is not None:
            before, whole = parts.get(of, ("", True))
            parts[of] = before + text[: max(0, end)], whole and not _key(text[max(0, end) :])
        end -= len(text)
    return {of: (text.strip(), whole) for of, (text, whole) in parts.items()}


def heard_text(
    said: Sequence[tuple[str | None, str]], heard: str | None, kind: HeardKind = "exact"
) -> tuple[str, bool]:
    """What was heard of all of it, progress included, and whether that is all. The arguments are `heard_parts`'s."""
    end, text = _end_of(said, heard, kind), "".join(text for _, text in said)
    return text[:end].strip(), not _key(text[end:])


def _end_of(said: Sequence[tuple[str | None, str]], heard: str | None, kind: HeardKind) -> int:
    """Where the caller stopped listening."""
    if heard is None or (kind == "derived" and not _is_beginning(heard, said)):
        return sum(len(text) for _, text in said)
    return heard_until(said, heard, fragment=kind == "fragment")


def heard_until(said: Sequence[tuple[str | None, str]], heard: str, *, fragment: bool = False) -> int:
    """Where in the joined text of `said` the caller stopped listening, in characters."""
    possible = 2 * sum(len(text) for _, text in said) + 200  # speech of numbers is longer than the digits
    sent, words = _sent_words(said), [word.key for word in _words(heard[:possible])]
    count = _align(sent, words, anywhere=fragment) if words else 0
    if count and _is_begun(words[-1], sent[count - 1].key):
        count -= 1
    return sent[count - 1].end if count else 0


def _is_beginning(heard: str, said: Sequence[tuple[str | None, str]]) -> bool:
    return bool(_key(heard)) and _key("".join(text for _, text in said)).startswith(_key(heard))


def whole_words(text: str, end: int) -> str:
    """The text up to `end`, without a word that goes on behind it. In a script without spaces each character is one."""
    if end < len(text) and _IN_WORD.match(text, end):
        while end and _IN_WORD.match(text, end - 1):
            end -= 1
    return text[:end]


def count_words(text: str) -> int:
    """As people count them, and characters where there are no spaces."""
    return sum(1 for _ in _COUNTED.finditer(text))


def _is_begun(heard: str, word: str) -> bool:
    """Whether no more than the beginning of the word was heard."""
    return word != heard and word.startswith(heard)


def _words(text: str) -> Iterator[_Word]:
    """The words of a text. What has no sound of its own belongs to the word it is attached to."""
    word = None
    for match in _WORD.finditer(text):
        if key := _key(match.group()):
            if word:
                yield word
            word = _Word(key, match.end())
        elif word and word.end == match.start():
            word = _Word(word.key, match.end())
    if word:
        yield word


def _key(text: str) -> str:
    """The letters and digits, without what a synthesiser may change. Empty for mere punctuation."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKD", text).casefold()))


def _sent_words(said: Sequence[tuple[str | None, str]]) -> list[_Word]:
    words = list(_words("".join(text for _, text in said)))
    for first, behind in _utterances(said, words):
        words[first] = _Word(words[first].key, words[first].end, behind)
    return words


def _utterances(said: Sequence[tuple[str | None, str]], words: Sequence[_Word]) -> Iterator[tuple[int, int]]:
    """The first word of each utterance, and the first one behind it. Progress lines are one each."""
    first = count = position = 0
    for index, (of, text) in enumerate(said):
        position += len(text)
        while count < len(words) and words[count].end <= position:
            count += 1
        is_last = of is None or index + 1 == len(said) or said[index + 1][0] != of
        if is_last and count > first:
            yield first, count
            first = count


def _align(sent: Sequence[_Word], heard: Sequence[str], *, anywhere: bool = False) -> int:
    """How many of the sent words were heard when the heard ones are alike to the sent ones from the first on, or,
    with `anywhere`, from any of them on.

    The cheapest way through both (Dijkstra): a place on it is so many words of each. Equal words cost nothing
    and are passed at once, so only places around differences are looked at.
    """
    keys = [word.key for word in sent]
    costs = [_ALMOST if any(map(str.isdigit, key)) else _DIFFERENT for key in keys]
    queue: list[tuple[int, int, int, int]] = []  # cost, sent (negative: of equals the last), heard, equal in a row
    seen: set[tuple[int, int]] = set()
    furthest = (0, 0)

    def reach(cost: int, i: int, j: int) -> None:
        start = j
        while i < len(keys) and j < len(heard) and keys[i] == heard[j]:
            i, j = i + 1, j + 1
        heappush(queue, (cost, -i, j, j - start))

    for start in range(len(keys) if anywhere else 1):
        reach(0, start, 0)
    while queue and len(seen) < _PATIENCE:
        cost, minus_i, j, equal = heappop(queue)
        i = -minus_i
        if j == len(heard):
            return i
        if (i, j) in seen:
            continue
        if equal >= _CERTAIN:
            queue.clear()
        seen.add((i, j))
        furthest = max(furthest, (j, i))
        reach(cost + (costs[i - 1] if i else _DIFFERENT), i, j + 1)
        if i == len(keys):
            continue
        reach(cost + costs[i], i + 1, j + 1)
        reach(cost + _DIFFERENT, i + 1, j)
        if behind := sent[i].next_utterance:
            reach(cost + _ALMOST, behind, j)
        if "".join(keys[i : i + 2]) == heard[j]:
            reach(cost + _ALMOST, i + 2, j + 1)
        if "".join(heard[j : j + 2]) == keys[i]:
            reach(cost + _ALMOST, i + 1, j + 2)
    j, i = furthest
    return min(len(sent), i + len(heard) - j)
