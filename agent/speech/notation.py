"""The notation of a streamed answer, taken away."""

from __future__ import annotations

import html
import re

from agent.speech.patterns import (
    ASIDE,
    BLOCK,
    CODE,
    EMPHASIS_IN_WORD,
    FACTOR_AFTER,
    FACTOR_BEFORE,
    INLINE,
    MINUS,
    ORDINARY,
    PLAIN,
    PLAIN_PIECE,
    STAGE_WORDS,
    without_noise,
)
from agent.speech.prose import Prose, is_wordlike
from agent.speech.tex import tex_to_text

_NOTE_ENDS = {"⟦": re.compile("⟧"), "〚": re.compile("〛"), "\ue200": re.compile("\ue201"), "[": re.compile(r"\]")}
_FORMULA_MARKS = re.compile(r"\A(?:\$+|\\[(\[])|(?:\$+|\\[)\]])\Z")
_MOST_WORDS_ASIDE = 6


def speakable(text: str) -> str:
    """The whole of `text` as it should be spoken."""
    return (reader := Speakable()).feed(text) + reader.end()


class Speakable:
    """Turns an answer into speech as it arrives: `feed` each piece of text, `end` when there is no more.

    The speech is the same however the text was cut; white space at its edges never leaves."""

    def __init__(self) -> None:
        self._raw = "\n"  # the last character read, then what could not be decided yet
        self._at = 1
        self._closing: re.Pattern[str] | None = None  # set while muted
        self._code = ""  # the backticks that opened it, while inside
        self._fenced = False
        self._emphasised = False  # a single `*` was left out, and its partner has not come
        self._prose = Prose()

    def feed(self, text: str) -> str:
        settled = self._at == len(self._raw) and not self._closing and self._prose.settled
        if settled and ORDINARY.fullmatch(text):
            self._raw = text[-1]
            self._prose.say(text)
        else:
            self._raw += without_noise(text)
            while self._at < len(self._raw) and self._step():
                pass
            self._raw, self._at = self._raw[self._at - 1 :], 1
        return self._prose.take()

    def end(self) -> str:
        """What was still held back. Two line ends settle every open question but one: a formula that goes over lines
        and never ends is text."""
        speech = self.feed("\n\n")
        while self._at < len(self._raw) and not self._closing:
            self._push(self._raw[self._at].removeprefix("\\"))
            self._at += 1
            speech += self.feed("")
        return speech

    def new_links(self) -> list[str]:
        """The addresses that were met since the last time, each of them once in an answer."""
        if links := self._prose.links:
            self._prose.links = []
        return links

    def _step(self) -> bool:
        """Read one construct; False when that takes more text."""
        prose = self._prose
        if self._closing:
            return self._skip_muted(self._closing)
        if prose.in_address:
            self._at = prose.read_address(self._raw, self._at)
            return True
        at_start = prose.line_start
        mark = self._line_mark() if at_start and not prose.word else None
        if not mark and (run := (PLAIN_PIECE if at_start else PLAIN).match(self._raw, self._at)):
            self._at = run.end() - len(prose.push(run[0]))
            return True
        mark = mark or self._inline_mark()
        return mark is not None and self._take(mark)

    def _line_mark(self) -> re.Match[str] | None:
        if self._raw[self._at] in "-+" and not self._prose.in_list and (mark := MINUS.match(self._raw, self._at)):
            return mark
        return BLOCK.match(self._raw, self._at)

    def _inline_mark(self) -> re.Match[str] | None:
        if self._code:
            return CODE.match(self._raw, self._at)
        if self._raw[self._at] in "*[" and self._prose.sentence_start:
            mark = ASIDE.match(self._raw, self._at)
            if mark and (mark.lastgroup == "more" or _is_aside(mark)):
                return mark
        return INLINE.match(self._raw, self._at)

    def _skip_muted(self, closing: re.Pattern[str]) -> bool:
        found = closing.search(self._raw, self._at)
        self._closing = None if found else closing
        self._at = found.end() if found else max(self._at, len(self._raw) - 32)  # longer than any closing tag
        return found is not None

    def _take(self, mark: re.Match[str]) -> bool:
        kind, text = mark.lastgroup or "", mark[0]
        if kind == "more":
            return False
        self._at = mark.end()
        match kind:
            case "literal":
                self._literal(text)
            case "minus":
                self._prose.push(text[0])
            case "fence":
                self._switch_code(text[:3], fenced=True)
            case "code":
                self._switch_code(text, fenced=False)
            case "muted":
                name = text.strip("<>").split()[0]
                self._closing = re.compile("-->" if name == "!--" else rf"(?i)</{name}[^<>]{{0,16}}>")
            case "note":
                self._closing = _NOTE_ENDS[text[0]]
            case "space":
                self._prose.push(" ")
            case "joiner" if is_wordlike(self._raw[self._at - 2]):  # spelling, not the glue between two emoji
                self._prose.push(text)
            case "aside" | "left_out" | "emoji":
                self._prose.gap = True
            case _:
                self._take_inline(kind, text)
        return True

    def _take_inline(self, kind: str, text: str) -> None:
        match kind:
            case "link":
                self._link(text[2:-1])
            case "autolink":
                self._push(text[1:-1])
                if self._prose.in_address:
                    self._prose.end_address()
            case "formula":
                self._push(without_noise(tex_to_text(_FORMULA_MARKS.sub("", text))))
            case "entity":
                self._push(without_noise(html.unescape(text)))
            case "escape":
                self._escaped(text[1:])
            case "dial":
                self._push(text)
            case "star":
                self._star(text)
            case "dashes":
                self._dashes(text)
            case "underscores" if is_wordlike(self._prose.heard[-1:]) and is_wordlike(self._raw[self._at]):
                self._push(text)
            case "pipes":
                self._pipes(text)
            case "bracket" if text == "[" and is_wordlike(self._prose.heard[-1:]):
                self._push(" ")

    def _push(self, text: str) -> None:
        """Text that has been read, to be spoken."""
        self._prose.push_whole(re.sub("[\0`]", "", text))

    def _literal(self, text: str) -> None:
        if text == "\n":
            self._emphasised = False
            self._code = self._code if self._fenced else ""
        self._prose.push(text)

    def _switch_code(self, marks: str, *, fenced: bool) -> None:
        if not self._code:
            self._code, self._fenced = marks, fenced
        elif marks == self._code or (self._fenced and marks[:3] == self._code):
            self._code, self._fenced = "", False

    def _link(self, target: str) -> None:
        """A link's target, perhaps with a title, after its text."""
        if address := target.split(maxsplit=1)[:1]:
            self._prose.add_link(address[0].strip("<>"))

    def _escaped(self, char: str) -> None:
        if char == "*":
            self._push("×" if self._is_product() else char)
        elif char not in "`[]":
            self._push(char)

    def _is_product(self) -> bool:
        before, after = self._prose.heard, self._raw[self._at : self._at + 3]
        if before[-1:].isdigit():
            return re.match(r"-?\d", after) is not None
        return bool(FACTOR_BEFORE.search(before) and FACTOR_AFTER.match(after))

    def _star(self, stars: str) -> None:
        """Leave out what marks a list item or emphasis; a star with a meaning stays."""
        before, after = self._prose.heard[-1:], self._raw[self._at]
        if stars == "*" and self._is_product():
            self._push("×")
        elif stars == "*" and after == " " and self._prose.line_start and not self._prose.word:
            self._prose.line = "item"
        elif self._is_literal(stars, before, after):
            self._push(stars)
        elif stars == "*":
            self._emphasised = not after.isspace() and not (self._emphasised and before.strip())

    def _is_literal(self, stars: str, before: str, after: str) -> bool:
        if stars == "**":
            return before.isdigit() and after.isdigit()
        behind = self._raw[self._at - 2]  # where something was left out, another than `before`
        if stars != "*" or behind == "*":
            return False
        if after.isspace():
            return before == " " or (before.isdigit() and not self._emphasised)
        if behind.isalpha() and after.isalnum() and not self._emphasised:
            return not EMPHASIS_IN_WORD.match(self._raw, self._at - 1)
        return before.isdigit() and not self._emphasised

    def _dashes(self, dashes: str) -> None:
        """An option (`--amend`) stays; other double dashes are a pause."""
        is_option = dashes == "--" and is_wordlike(self._raw[self._at]) and not is_wordlike(self._prose.heard[-1:])
        if is_option:
            self._push(dashes)
        elif self._prose.heard[-1:] != "—":
            self._push("—")

    def _pipes(self, pipes: str) -> None:
        """The edge of a table's cell, or a sign between two things."""
        before, after = self._raw[self._at - len(pipes) - 1], self._raw[self._at]
        is_edge = before.isspace() or after.isspace()
        if self._prose.line == "row" or self._prose.line_start or (is_edge and pipes == "|"):
            self._prose.separate()
        else:
            self._push(pipes)


def _is_aside(mark: re.Match[str]) -> bool:
    """Whether words in brackets or asterisks, where a sentence could begin, are a stage direction."""
    words = mark["aside"][1:-1]
    if STAGE_WORDS.fullmatch(words):
        return True
    return words[0].islower() and not mark["next"].islower() and len(words.split()) <= _MOST_WORDS_ASIDE
