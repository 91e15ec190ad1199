"""Model text in, speakable text out, while it streams.

Two stages. `Speakable` reads what the model wrote and takes the notation away (Markdown, tags, emoji). `_Prose`
is the last thing before the ear: it sees only what is left, so that an address or a tag made of two pieces
(`ht<b>tp://`) is caught there, and it owns all white space and whatever depends on the start of a line as heard.

Where this departs from a Markdown parser, and why:

- Nothing is paired. A `*` or `[` is dropped where it stands: the text after it is spoken before its partner comes.
- Held back is only what the next characters can change, at most about 2 kB. Beyond that it is read as text.
- What `<think>` and its like or a comment opens is dropped to its end, or to the end of the answer.

Each decision depends on the characters so far, never on how they were cut. A pattern keeps that promise by its
branch `more`: what is still incomplete at the end of the buffer. It is tried first.
"""

import re
import unicodedata

__all__ = ["Speakable", "speakable"]

_EMOJI = (
    r"\u2139\u2194-\u2199\u21a9\u21aa\u231a\u231b\u2328\u23cf\u23e9-\u23f3\u23f8-\u23fa\u24c2\u25aa\u25ab\u25b6"
    r"\u25c0\u25fb-\u25fe\u2600-\u27bf\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\u3030\u303d\u3297\u3299"
    r"\U0001f000-\U0001faff"
)
# Controls, soft hyphen, zero-width and bidi marks, variation selectors, keycap ring, lone surrogates, flag tags.
_SOUNDLESS = (
    r"\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufe00-\ufe0f\u20e3"
    r"\ud800-\udfff\ufff9-\ufffb\U000e0000-\U000e01ef"
)
_NOISE = re.compile(
    r"(?P<newline>[\r\x0b\x0c\x85\u2028\u2029])|(?P<blank>[\t\xa0\u1680\u2000-\u200a\u202f\u205f\u3000])"
    rf"|(?P<emoji>[{_EMOJI}])|[{_SOUNDLESS}]"
)
_CLEAN = {"newline": "\n", "blank": " ", "emoji": "\0"}  # a NUL of the model's own is soundless

_PLAIN = re.compile(r"[^\n\\*_~`\[\]!|<\x00\u200c\u200d-]+")

_BLOCK = re.compile(
    r"""
    (?P<indent> \ + )
    | (?P<more> (?: [|:=\-\ ]{1,300} | \[ (?: [\ xX] \]? )?
                | `{1,2} | ~{1,2} | (?:`{3,9}|~{3,9}) \ {0,3} [^\s`~]{0,40} (?:\ [^`\n]{0,81})? ) \Z )
    | (?P<rule> (?= [^\n]{0,300} (?: -- | == | \|:?- ) ) [|:=\-\ ]{2,300} (?=\n) )
    | (?P<fence> (?:`{3,9}|~{3,9}) \ {0,3} [^\s`~]{0,40} (?: \ [^`\n]{0,40} [={] [^`\n]{0,40} | \ ? ) (?=\n) )
    | (?P<quote> > )
    | (?P<task> \[[\ xX]\]\  )
    """,
    re.VERBOSE,
)

_TARGET = r"\]\( [^()\n]{0,1000} (?: \([^()\n]{0,200}\) [^()\n]{0,200} ){0,3}"
_INLINE = re.compile(
    rf"""
    (?P<more> (?: (?<!\w)! | {_TARGET} (?: \([^()\n]{{0,200}} )? | \] (?: \[[^\[\]\n]{{0,200}} )?
                | \[ (?: \^ [^\]\n]{{0,60}} \]? )? | < (?: [A-Za-z/!?] [^<>\n]{{0,199}} )?
                | (?<!\*)\*\ ? | (?<!-)- | [_\\] ) \Z )
    | (?P<skip> (?<!\w)!\[ | {_TARGET} \) | \]\[[^\[\]\n]{{0,200}}\] | \[\^[^\]\n]{{1,60}}\]:? )
    | (?P<comment> <!-- )
    | (?P<tag> <[A-Za-z/!?][^<>\n]{{0,199}}> )
    | (?P<times> (?<!\*)\*(?=\d|\ [^\W_]|\ \() )
    | (?P<dashes> -(?=-) | (?<=-)- )
    | (?P<pipe> \| )
    | (?P<underscore> _ )
    | (?P<joiner> [\u200c\u200d] )
    | (?P<picture> \x00 )
    | (?P<drop> [\[\]*~`] | <(?=[A-Za-z/!?<]) | \\(?![^\W_]) )
    | (?P<literal> [\s\S] )
    """,
    re.VERBOSE,
)
_MUTED = re.compile(r"<(think|thinking|reasoning|script|style)(?:\s[^>]*)?(?<!/)>", re.IGNORECASE)
_LONGEST_CLOSING = 32
_BREAK = re.compile(r"</?(?:br|p|div|li|ul|ol|tr|td|th|h[1-6]|hr)\b", re.IGNORECASE)
_FACTOR = re.compile(r"[^\W_] \Z|\) \Z")

_SCHEMES = ("https://", "http://", "ftp://", "mailto:", "www.")
_STEMS = "|".join(sorted({s[:n] for s in _SCHEMES for n in range(1, len(s))}, key=len, reverse=True))
_ADDRESS = re.compile(r"\(?(?<![A-Za-z0-9])(?:(?:https?|ftp)://|mailto:|www\.)|://", re.IGNORECASE)
_MAYBE = re.compile(rf"(?:<+|<*(?:\(?(?<![A-Za-z0-9])(?:{_STEMS})|\(|:/?))\Z", re.IGNORECASE)
_LONGEST_STEM = 12
_MARKER = re.compile(r"(?:\s*(?:#{1,6}|[-+•])(?=\s))+")
_MARKER_OR_NOT = re.compile(r"#{1,6}|[-+•]")
_BODY = re.compile(r"[^\s<>|\]\u3001-\u3003\u3008-\u3011\u3014-\u301f\uff01-\uff0f\uff1a-\uff20]+")
_CLOSING = ".,;:!?…)\"'”’»،؛؟।॥"
_STICKY = frozenset(".,;:!?…)”’،؛؟।")
_WORDS = re.compile(r"(\s*)(\S*)")
_WWW = re.compile(r"(www)\.", re.IGNORECASE)
_OPENER = re.compile(r"<+(?=[A-Za-z/!?])|(?<=<)<")
# One ordinary word with what may stand around it: nothing in it that either stage would look at twice.
_ORDINARY = re.compile(rf" ?(?!(?:{_STEMS})\Z)[A-Za-z0-9]+(?:[,?]|(?<!w)\.)?", re.IGNORECASE)


def speakable(text: str) -> str:
    """The whole of `text` as it should be spoken."""
    reader = Speakable()
    return reader.feed(text) + reader.end()


class Speakable:
    """Turns an answer into speech as it arrives: `feed` each piece of text, `end` when there is no more.

    The speech is the same however the text was cut; white space at its edges never leaves."""

    def __init__(self) -> None:
        self._raw = "\n"  # the last character read, then what could not be decided yet
        self._at = 1
        self._closing: re.Pattern[str] | None = None  # set while muted
        self._prose = _Prose()

    def feed(self, text: str) -> str:
        settled = self._at == len(self._raw) and not self._closing and self._prose.calm
        if settled and _ORDINARY.fullmatch(text):
            self._raw = text[-1]
            return self._prose.word(text)
        self._raw += _NOISE.sub(lambda m: _CLEAN.get(m.lastgroup or "", ""), text)
        while self._at < len(self._raw) and self._step():
            pass
        self._raw, self._at = self._raw[self._at - 1 :], 1
        return self._prose.take()

    def end(self) -> str:
        """What was still held back. A line end settles every open question."""
        return self.feed("\n")

    def _step(self) -> bool:
        """Read one construct; False when that takes more text."""
        if self._closing:
            return self._skip_muted(self._closing)
        if self._prose.in_address:
            return self._address()
        if self._prose.fresh_line and (mark := _BLOCK.match(self._raw, self._at)):
            return self._take(mark)
        if plain := _PLAIN.match(self._raw, self._at):
            self._at = plain.end() - len(self._prose.push(plain[0]))
            return True
        mark = _INLINE.match(self._raw, self._at)
        return mark is not None and self._take(mark)

    def _address(self) -> bool:
        if body := _BODY.match(self._raw, self._at):
            self._at = body.end()
            self._prose.skip(body[0])
        else:
            self._prose.close_address()
        return True

    def _skip_muted(self, closing: re.Pattern[str]) -> bool:
        found = closing.search(self._raw, self._at)
        if found:
            self._closing = None
        self._at = found.end() if found else max(self._at, len(self._raw) - _LONGEST_CLOSING)
        return found is not None

    def _take(self, mark: re.Match[str]) -> bool:
        if mark.lastgroup == "more":
            return False
        self._at = mark.end()
        match mark.lastgroup:
            case "indent" | "literal":
                self._prose.push(mark[0])
            case "comment":
                self._closing = re.compile("-->")
            case "tag":
                self._tag(mark[0])
            case "times":
                self._times()
            case "dashes":
                self._prose.push(" ")
            case "pipe":
                self._prose.separate()
            case "underscore":
                self._underscore()
            case "joiner" if _wordlike(self._raw[self._at - 2]):  # spelling; after an emoji it is glue
                self._prose.push(mark[0])
            case "picture":
                self._prose.left_out()
        return True

    def _underscore(self) -> None:
        if _wordlike(self._prose.heard[-1:]) and _wordlike(self._raw[self._at]):
            self._prose.push(" ")

    def _tag(self, tag: str) -> None:
        if muted := _MUTED.fullmatch(tag):
            self._closing = re.compile(rf"</{muted[1]}[^<>]{{0,16}}>", re.IGNORECASE)
        elif _BREAK.match(tag):
            self._prose.push(" ")

    def _times(self) -> None:
        heard = self._prose.heard
        spaced = self._raw[self._at] == " "
        if _FACTOR.search(heard) if spaced else heard[-1:].isdigit():
            self._prose.push("×")


class _Prose:
    """What is left once the notation is gone. Takes out addresses, folds white space, and lets nothing leave that
    would read as an address or a tag together with what left before."""

    def __init__(self) -> None:
        self.in_address = False
        self._out: list[str] = []
        self._tail = ""  # the last characters that left
        self._space = ""  # white space waiting for a word
        self._word = ""  # may turn out to begin an address or a tag
        self._closing = ""  # punctuation at the end of the address so far: the sentence's, if no more follows
        self._brackets = 0  # opened around and in the address
        self._gap = False  # something was left out since the last word or space

    @property
    def calm(self) -> bool:
        return not (self._word or self.in_address or self.fresh_line)

    @property
    def fresh_line(self) -> bool:
        return self._starting and not (self._word or self.in_address)

    @property
    def _starting(self) -> bool:
        return not self._tail or self._space == "\n"

    @property
    def heard(self) -> str:
        return self._tail + self._space + self._word

    def take(self) -> str:
        text = "".join(self._out)
        self._out.clear()
        return text

    def word(self, text: str) -> str:
        """The short way for one ordinary word: `push` and `take`."""
        bare = text.lstrip(" ")
        if len(bare) < len(text):
            self._hold(" ")
        self._say(bare)
        return self.take()

    def separate(self) -> None:
        """A table's pipe: a comma between two cells, nothing at the edge of a row."""
        self.push(" ")
        if self._space == " " and self._tail[-1:] not in _STICKY:
            self._space = ", "

    def left_out(self) -> None:
        self._gap = True

    def close_address(self) -> None:
        closing = self._closing.replace(")", "", self._brackets)
        self.in_address, self._closing, self._gap = False, "", True
        if not self.fresh_line:
            self.push(closing)

    def push(self, text: str) -> str:
        """Returns what follows where an address begins: that is to be read again, and skipped."""
        before = " " if self._space else self._tail[-1:]
        start = len(before)
        line = before + self._word + text
        if self._starting and (marker := _MARKER.match(line, start)):
            start = marker.end()
        if (":" in line or "." in line) and (found := _ADDRESS.search(line, start)):
            self._word = ""
            self._emit(line[start : found.start()])
            self.in_address, self._brackets = True, found[0].count("(")
            return line[found.end() :]
        held = self._starting and _MARKER_OR_NOT.fullmatch(line, start)
        held = held or _MAYBE.search(line, max(start, len(line) - _LONGEST_STEM))
        cut = held.start() if held else len(line)
        self._word = re.sub("<+", "<", line[cut:])
        self._emit(line[start:cut])
        return ""

    def skip(self, address: str) -> None:
        part = re.sub(r"[*`~_]", "", address)
        closing = part[len(part.rstrip(_CLOSING)) :]
        self._brackets += part.count("(")
        self._closing = (self._closing + part if closing == part else closing)[-64:]

    def _emit(self, text: str) -> None:
        if "<" in text:
            text = _OPENER.sub("", text)
        for space, word in _WORDS.findall(text):
            if space:
                self._hold("\n" if "\n" in space else " ")
            if word:
                self._say(word)

    def _hold(self, space: str) -> None:
        if not self._space or space == "\n":
            self._space = space
        self._gap = False

    def _say(self, word: str) -> None:
        closes_up = self._gap and word[0] in _STICKY and _wordlike(self._tail[-1:])
        space = "" if closes_up or not self._tail else self._space
        if self._tail[-1:] == "<" and _OPENER.match("<" + word):
            space = space or " "
        if "." in word:
            word = _WWW.sub(r"\1…", self._tail + space + word)[len(self._tail + space) :]
        self._out.append(space + word)
        self._tail = (self._tail + space + word)[-3:]
        self._space, self._gap = "", False


def _wordlike(char: str) -> bool:
    return char.isalnum() or (char != "" and unicodedata.category(char)[0] == "M")
