"""Model text in, speakable text out, while it streams.

Two stages. `Speakable` reads what the model wrote and takes the notation away (Markdown, tags, emoji). `_Prose` is
the last thing before the ear: it sees only what is left, so that an address, a tag or a bullet made of two pieces
(`ht<b>tp://`) is caught there. It owns all white space.

Where this departs from a Markdown parser, and why:

- Nothing is paired. A `*` or `[` is dropped where it stands: the text after it is spoken before its partner comes.
- Held back is only what the next characters can change, at most about 2 kB. Beyond that it is read as text.
- What `<think>` and its like or a comment opens is dropped to its end, or to the end of the answer.

Each decision depends on the characters so far, never on how they were cut. A pattern keeps that promise by its
branch `more`: what is still incomplete at the end of the buffer. It excludes the other branches.
"""

import re
import unicodedata

__all__ = ["Speakable", "speakable"]

_EMOJI = (
    r"\u2139\u2194-\u2199\u21a9\u21aa\u231a\u231b\u2328\u23cf\u23e9-\u23fa\u24c2\u25aa\u25ab\u25b6\u25c0"
    r"\u25fb-\u25fe\u2600-\u27bf\u2934\u2935\u2b05-\u2b55\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
)
# Controls, soft hyphen, zero-width and bidi marks, variation selectors, keycap ring, lone surrogates, flag tags.
_SOUNDLESS = (
    r"\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufe00-\ufe0f\u20e3"
    r"\ud800-\udfff\ufff9-\ufffb\U000e0000-\U000e01ef"
)
_NOISE = re.compile(
    r"(?P<line>[\r\x0b\x0c\x85\u2028\u2029])|(?P<blank>[\t\xa0\u1680\u2000-\u200a\u202f\u205f\u3000])"
    rf"|(?P<emoji>[{_EMOJI}])|[{_SOUNDLESS}]"
)
_CLEAN = {"line": "\n", "blank": " ", "emoji": "\0"}  # the model's own NUL is soundless, so this one is free
_NOTATION = r"\n\\*_~`\[\]!|<\x00\u200c\u200d-"
_PLAIN = re.compile(rf"[^{_NOTATION}]{{1,500}}")
_PLAIN_PIECE = re.compile(rf" +|[^ {_NOTATION}]+")  # at the start of a line, where a space may end a marker
_BLOCK = re.compile(
    r"""(?x)
      (?P<literal> \ + )
    | (?P<more> (?: [|:=\-\ ]{1,300} | \[ (?: [\ xX] \]? )?
                | `{1,2} | ~{1,2} | (?:`{3,9}|~{3,9}) \ {0,3} [^\s`~]{0,40} (?:\ [^`\n]{0,81})? ) \Z )
    | (?P<rule> (?= [^\n]{0,300} (?: -- | == | \|:?- ) ) [|:=\-\ ]{2,300} (?=\n) )
    | (?P<fence> (?:`{3,9}|~{3,9}) \ {0,3} [^\s`~]{0,40} (?: \ [^`\n]{0,40} [={] [^`\n]{0,40} | \ ? ) (?=\n) )
    | (?P<marker> > | \[[\ xX]\]\  )
    """
)
_TARGET = r"\]\( [^()\n]{0,1000} (?: \([^()\n]{0,200}\) [^()\n]{0,200} ){0,2}"
_INLINE = re.compile(
    rf"""(?x)
      (?P<more> (?: (?<!\w)! | {_TARGET} (?: \([^()\n]{{0,200}} )? | \] (?: \[[^\[\]\n]{{0,200}} )?
                | \[ (?: \^ [^\]\n]{{0,60}} \]? )? | < (?: [A-Za-z/!?] [^<>\n]{{0,199}} )?
                | (?<!\*)\*\ ?-? | (?<!-)- | [_\\] ) \Z )
    | (?P<link> (?<!\w)!\[ | {_TARGET} \) | \]\[[^\[\]\n]{{0,200}}\] | \[\^[^\]\n]{{1,60}}\]:? )
    | (?P<muted> <!-- | <(?i:think|thinking|reasoning|script|style)(?:\ [^<>\n]{{0,180}})?(?<!/)> )
    | (?P<space> -(?=-) | (?<=-)- | </?(?i:br|p|div|li|ul|ol|tr|td|th|h[1-6]|hr)\b[^<>\n]{{0,180}}> )
    | (?P<tag> <[A-Za-z/!?][^<>\n]{{0,199}}> )
    | (?P<times> (?<!\*)\*(?=\ ?-?\d|\ [^\W_]|\ \() )
    | (?P<pipe> \| )
    | (?P<underscore> _ )
    | (?P<joiner> [\u200c\u200d] )
    | (?P<emoji> \x00 )
    | (?P<mark> [\[\]*~`] | <(?=[A-Za-z/!?<]) | \\(?![^\W_]) )
    | (?P<literal> [\s\S] )
    """
)
_TIMES = re.compile(r"\d\*[\d-]\Z|(?:[^\W_]|\)) \* \Z")
_SCHEMES = ("https://", "http://", "ftp://", "mailto:", "www.")
_STEMS = "|".join(sorted({s[:n] for s in _SCHEMES for n in range(1, len(s))}, key=len, reverse=True))
_LATIN = "A-Za-z0-9À-ÖØ-öø-ɏ"  # after one of these a scheme does not begin; after 请看 it does
_ADDRESS = re.compile(rf"\(?(?<![{_LATIN}])(?:(?:https?|ftp)://|mailto:|www\.)|://", re.IGNORECASE)
_MAYBE = re.compile(rf"(?:<+|<*(?:\(?(?<![{_LATIN}])(?:{_STEMS})|\(|:/?))\Z", re.IGNORECASE)
_ADDRESS_BODY = re.compile(r"[^\s<>|\]\u3001-\u3003\u3008-\u3011\u3014-\u301f\uff01-\uff0f\uff1a-\uff20]+")
_MARKER = re.compile(r"#{1,6}|[-+•]")
_CLOSING = ".,;:!?…)\"'”’»،؛؟।॥"
_STICKY = frozenset(".,;:!?…)”’،؛؟।")
_OPENER = re.compile(r"<+(?=[A-Za-z/!?])|(?<=<)<")
# One ordinary word with what may stand around it: nothing in it that either stage would look at twice.
_ORDINARY = re.compile(rf" ?(?!(?:{_STEMS})\Z)[{_LATIN}]+(?:[,?]|(?<!w)\.)?", re.IGNORECASE)


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
        self._prose = _Prose()

    def feed(self, text: str) -> str:
        settled = self._at == len(self._raw) and not self._closing and self._prose.settled
        if settled and _ORDINARY.fullmatch(text):
            self._raw = text[-1]
            self._prose.say(text)
        else:
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
            return self._skip_address()
        at_start = self._prose.line_start
        mark = _BLOCK.match(self._raw, self._at) if at_start and not self._prose.word else None
        if not mark and (run := (_PLAIN_PIECE if at_start else _PLAIN).match(self._raw, self._at)):
            self._at = run.end() - len(self._prose.push(run[0]))
            return True
        mark = mark or _INLINE.match(self._raw, self._at)
        return mark is not None and self._take(mark)

    def _skip_muted(self, closing: re.Pattern[str]) -> bool:
        found = closing.search(self._raw, self._at)
        self._closing = None if found else closing
        self._at = found.end() if found else max(self._at, len(self._raw) - 32)  # longer than any closing tag
        return found is not None

    def _skip_address(self) -> bool:
        if body := _ADDRESS_BODY.match(self._raw, self._at):
            self._at = body.end()
            self._prose.skip(body[0])
        else:
            self._prose.close_address()
        return True

    def _take(self, mark: re.Match[str]) -> bool:
        if mark.lastgroup == "more":
            return False
        self._at = mark.end()
        match mark.lastgroup:
            case "literal":
                self._prose.push(mark[0])
            case "muted":
                name = mark[0].strip("<>").split()[0]
                self._closing = re.compile("-->" if name == "!--" else rf"(?i)</{name}[^<>]{{0,16}}>")
            case "space":
                self._prose.push(" ")
            case "times" if _TIMES.search(f"{self._prose.heard}*{self._raw[self._at]}"):
                self._prose.push("×")
            case "pipe":
                self._prose.separate()
            case "underscore" if _wordlike(self._prose.heard[-1:]) and _wordlike(self._raw[self._at]):
                self._prose.push(" ")
            case "joiner" if _wordlike(self._raw[self._at - 2]):  # spelling, not the glue between two emoji
                self._prose.push(mark[0])
            case "emoji":
                self._prose.gap = True
        return True


class _Prose:
    """What is left once the notation is gone. Takes out addresses, folds white space, and lets nothing leave that
    reads as an address, a tag or a bullet together with what left before."""

    def __init__(self) -> None:
        self.in_address = False
        self.word = ""  # may turn out to begin an address, a tag or a line
        self.gap = False  # something was left out since the last word or space
        self._out: list[str] = []
        self._tail = ""  # the last characters that left
        self._space = ""  # waits for a word
        self._closing = ""  # punctuation that ends the address, or the sentence if no more of the address follows
        self._brackets = 0  # opened before and in the address

    @property
    def line_start(self) -> bool:
        return not self._tail or self._space == "\n"

    @property
    def settled(self) -> bool:
        return not (self.word or self.in_address or self.line_start)

    @property
    def heard(self) -> str:
        return self._tail + self._space + self.word

    def take(self) -> str:
        text = "".join(self._out)
        self._out.clear()
        return text

    def push(self, text: str) -> str:
        """Returns what follows the beginning of an address: that is to be skipped."""
        if self.line_start and text.isspace() and _MARKER.fullmatch(self.word):
            self.word = ""
        start = 0 if self._space else len(self._tail[-1:])
        line = self._tail[-1:][:start] + self.word + text
        if (":" in line or "." in line) and (found := _ADDRESS.search(line, start)):
            self.word = ""
            self.say(line[start : found.start()])
            self.in_address, self._brackets = True, found[0].count("(")
            return line[found.end() :]
        held = self.line_start and _MARKER.fullmatch(line, start)
        held = held or _MAYBE.search(line, max(start, len(line) - 12))
        cut = held.start() if held else len(line)
        self.word = re.sub("<+", "<", line[cut:])
        self.say(line[start:cut])
        return ""

    def separate(self) -> None:
        """A table's pipe: a comma between two cells, nothing at the edge of a row."""
        self.push(" ")
        if self._space == " " and self._tail[-1:] not in _STICKY:
            self._space = ", "

    def skip(self, address: str) -> None:
        part = re.sub(r"[*`~_]", "", address)
        closing = part[len(part.rstrip(_CLOSING)) :]
        self._brackets += part.count("(")
        self._closing = (self._closing + part if closing == part else closing)[-64:]

    def close_address(self) -> None:
        closing = self._closing.replace(")", "", self._brackets)
        self.in_address, self._closing, self.gap = False, "", True
        if closing and not self.line_start:
            self.push(closing)

    def say(self, text: str) -> None:
        for word in re.findall(r"\s+|\S+", _OPENER.sub("", text) if "<" in text else text):
            if not word.isspace():
                self._out.append(self._joined(word))
            elif not self._space or "\n" in word:
                self._space = "\n" if "\n" in word else " "
            self.gap = False

    def _joined(self, word: str) -> str:
        """`word` with the white space before it, if any belongs there."""
        space = self._space if self._tail else ""
        if self.gap and word[0] in _STICKY and _wordlike(self._tail[-1:]):
            space = ""
        elif self._tail[-1:] == "<" and _OPENER.match("<" + word):
            space = space or " "
        before = self._tail + space
        if "." in word:
            word = re.sub(r"(?i)(www)\.", r"\1…", before + word)[len(before) :]
        self._tail = (before + word)[-3:]
        self._space = ""
        return space + word


def _wordlike(char: str) -> bool:
    return char.isalnum() or (char != "" and unicodedata.category(char)[0] == "M")
