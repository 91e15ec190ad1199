"""What is left once the notation is gone: addresses, white space, pauses."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

__all__ = ["ADDRESS_STEMS", "LATIN", "Prose", "is_wordlike"]

_SCHEMES = ("https://", "http://", "ftp://", "mailto:", "www.")
ADDRESS_STEMS = "|".join(sorted({s[:n] for s in _SCHEMES for n in range(1, len(s))}, key=len, reverse=True))
LATIN = "A-Za-z0-9À-ÖØ-öø-ɏ"  # after one of these a scheme does not begin; after 请看 it does
_CJK = r"\u3001-\u30ff\u3400-\u9fff\uac00-\ud7af\uff01-\uff60"
_ADDRESS = re.compile(rf"(?<![{LATIN}])(?:(?:https?|ftp)://|mailto:|www\.)|://", re.IGNORECASE)
_MAYBE_ADDRESS = re.compile(rf"(?:(?<![{LATIN}])(?:{ADDRESS_STEMS})|:/?)\Z", re.IGNORECASE)
_ADDRESS_BODY = re.compile(rf"[^\s\0<>|\]{_CJK}]+")
_PREFIX = re.compile(r"(?:(?:https?|ftp)?://|mailto:)?", re.IGNORECASE)
_LINK = re.compile(r"(?:https?|ftp)://[^\s/]|(?:mailto|tel):[^\s/]|www\.", re.IGNORECASE)
_LONGEST_LINK = 2_000  # characters
_LONGEST_HOST = 253
_MARKER = re.compile(r"(?P<heading>#{1,6})|[-+•]|(?P<number>\d{1,3}[.)])")
_MAYBE_MARKER = re.compile(r"#{1,6}|[-+•]|\d{1,3}[.)]?")
_ENDING = ".,;:!?…)\"'”’»،؛؟।॥"  # belongs to the sentence, where it ends an address
_STICKY = frozenset(".,;:!?…)”’،؛؟।")
_CLOSING = ")]\"'”’»」』）"
_PAUSING = frozenset(".,;:!?…–—،؛؟।॥。、！？：；，")
_SENTENCE_END = re.compile(r"(?:\A|[^\d\s][.!?…।]|[。！？])[\"'”’»)」』）]?\Z")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")

Line = Literal["text", "heading", "item", "row"]


class Prose:
    """Speaks of addresses their host, folds white space, puts pauses between lines that are no running text, and
    lets nothing leave that reads as an address, a tag or a bullet together with what left before."""

    def __init__(self) -> None:
        self.in_address = False
        self.word = ""  # may turn out to begin an address or a line
        self.gap = False  # something was left out since the last word or space
        self.line: Line = "text"
        self.links: list[str] = []
        self._known_links: set[str] = set()
        self._line_before: Line = "text"
        self._is_apart = False  # an empty line stands before this one
        self._out: list[str] = []
        self._tail = ""  # the last characters that left
        self._space = ""  # waits for a word
        self._address = ""
        self._after_address = False

    @property
    def line_start(self) -> bool:
        return not self._tail or self._space == "\n"

    @property
    def in_list(self) -> bool:
        """At the start of a line: whether the one before was an item."""
        return self._line_before == "item"

    @property
    def sentence_start(self) -> bool:
        return not self.word and (self.line_start or _SENTENCE_END.search(self._tail) is not None)

    @property
    def settled(self) -> bool:
        return not (self.word or self.in_address or self.line_start or self._after_address)

    @property
    def heard(self) -> str:
        """The last few characters that were spoken, with the white space that waits."""
        return self._tail + self._space + self.word

    def take(self) -> str:
        text = "".join(self._out)
        self._out.clear()
        return text

    def push(self, text: str) -> str:
        """Returns what follows the beginning of an address: that is to be read by `read_address`."""
        if self.line_start and text.isspace() and (marker := _MARKER.fullmatch(self.word)):
            self._mark_line(marker)
        start = 0 if self._space else len(self._tail[-1:])
        line = self._tail[-1:][:start] + self.word + text
        if (":" in line or "." in line) and (found := _ADDRESS.search(line, start)):
            self.word = ""
            self.say(line[start : found.start()])
            self.in_address, self._address = True, found[0]
            return line[found.end() :]
        held = self.line_start and _MAYBE_MARKER.fullmatch(line, start)
        held = held or _MAYBE_ADDRESS.search(line, max(start, len(line) - 12))
        cut = held.start() if held else len(line)
        self.word = line[cut:]
        self.say(line[start:cut])
        return ""

    def push_whole(self, text: str) -> None:
        """As `push`, for text after which an address may go on, but which has been read."""
        if rest := self.push(text):
            self._address += rest

    def _mark_line(self, marker: re.Match[str]) -> None:
        """The line begins with a marker. Only a number is spoken."""
        self.line = "heading" if marker["heading"] else "item"
        self.word = ""
        if number := marker["number"]:
            self.say(number)

    def separate(self) -> None:
        """A table's pipe: a comma between two cells, nothing at the edge of a row."""
        self.push(" ")
        self.line = "row"
        if self._space == " " and self._tail[-1:] not in _STICKY:
            self._space = ", "

    def read_address(self, text: str, at: int) -> int:
        """Read on in an address, or end it. Returns where it was left."""
        if body := _ADDRESS_BODY.match(text, at):
            self._address += body[0]
            if len(self._address) > 2 * _LONGEST_LINK:  # too long for the page; its host and its end are kept
                self._address = self._address[: _LONGEST_LINK + 1] + self._address[-64:]
            return body.end()
        self.end_address()
        return at

    def end_address(self) -> None:
        body = self._address.rstrip(_ENDING + "*`~_")
        ending = re.sub(r"[*`~_]", "", self._address[len(body) :])
        inner = min(body.count("("), ending.count(")"))
        self.in_address, self._address = False, ""
        self.add_link(body + ")" * inner)
        if name := _spoken_address(body):
            if body.startswith("://"):
                self._space = self._space or " "
            self.say(name)
        self.gap = not name
        self._after_address = bool(name)
        if (ending := ending.replace(")", "", inner)) and not self.line_start:
            self.push(ending)

    def add_link(self, address: str) -> None:
        """An address for the caller's page, once."""
        if _LINK.match(address) and len(address) <= _LONGEST_LINK and address not in self._known_links:
            self._known_links.add(address)
            self.links.append(f"https://{address}" if address[:4].lower() == "www." else address)

    def say(self, text: str) -> None:
        for word in re.findall(r"\s+|\S+", _TAG.sub("< ", text) if "<" in text else text):
            if not word.isspace():
                self._out.append(self._joined(word))
            elif "\n" in word:
                self._end_line(word)
            elif not self._space:
                self._space = " "
            self.gap = self._after_address = False

    def _end_line(self, space: str) -> None:
        if self._space != "\n":
            self._line_before, self._is_apart = self.line, space.count("\n") > 1
        else:
            self._is_apart = True
        self.line = "text"
        self._space = "\n"

    def _joined(self, word: str) -> str:
        """`word` with the white space before it, if any belongs there."""
        space = self._space if self._tail else ""
        if space == "\n":
            space = self._pause() + space
        elif self.gap and word[0] in _STICKY:
            space = ""
        elif (not space and (self._after_address and is_wordlike(word[0]))) or (
            not space and self._tail[-1:] == "<" and _TAG.match("<" + word)
        ):
            space = " "
        self._tail = (self._tail + space + word)[-3:]
        self._space = ""
        return space + word

    def _pause(self) -> str:
        """What is to be heard at the end of a line: nothing in running text and after punctuation."""
        last = self._tail.rstrip(_CLOSING)[-1:] or self._tail[-1:]
        if last in _PAUSING or (self._line_before == self.line == "text" and not self._is_apart):
            return ""
        in_list = self._line_before == self.line == "item"
        if re.match(f"[{_CJK}]", last):
            return "、" if in_list else "。"
        return "," if in_list else "."


def _spoken_address(address: str) -> str:
    """What is said in place of an address: its host, or the mailbox. Never a user's name and password."""
    rest = address[_PREFIX.match(address).end() :]  # type: ignore[union-attr]  # it matches nothing, too
    name = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    if address[:7].lower() != "mailto:":
        name = name.rpartition("@")[2]
    name = re.sub(r"[*`]|\A(?:www\.)+", "", name, flags=re.IGNORECASE)
    return name[:_LONGEST_HOST]


def is_wordlike(char: str) -> bool:
    return char.isalnum() or (char != "" and unicodedata.category(char)[0] == "M")
