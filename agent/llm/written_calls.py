"""Tool calls that a model writes down in place of making them: "```tool_code\\nprint(default_api.clock())```".

They are code, never for the ear, and what they ask for has not been done. So they are recognised before they are
spoken, while the answer streams, by how such calls begin.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

_LONGEST = 200  # characters that are held back; beyond that it is text
_CODE = ("tool_code", "tool_call", "tool_output", "function_call")
_KEYS = "name|tool|tool_name|tool_code|tool_calls?|function|function_calls?|functionCall|action"
_TAGS = r"(?:start_)?(?:tool_code|tool_calls?|tool▁|function_calls?|function=|invoke\b|python_tag)"
_BEGINS = r"(?:(?<=\n)|(?<=[.!?:…]\s))[ \t]*"
# Most pieces of text have nothing with which a call could begin.
_SUSPECT = re.compile(
    r"[`~<\[{_(\n]|\b(?:d(?:e(?:f(?:a\w*)?)?)?|p(?:r(?:i\w*)?)?|f(?:u(?:n\w*)?)?)(?:[.:]\w*)?\Z|[.!?:…]\s+[a-z][\w:]*\Z"
)


class WrittenCalls:
    """Feed it the text as it comes: it gives what is not such a call. `found`: there was one; what follows it is
    dropped. What may become one is held back until that is clear, and `end` gives what was.

    tools: the names that the model could call. However the text is cut, the outcome is the same.
    """

    def __init__(self, tools: Sequence[str]) -> None:
        self.found = False
        self._before = "\n"  # the last characters that were let through
        self._held = ""
        self._call, self._maybe = _patterns(tuple(tools))

    def feed(self, text: str) -> str:
        if self.found or not text:
            return ""
        if not (self._held or self._begins or _SUSPECT.search(text)):
            self._before = (self._before + text)[-8:]
            return text
        return self._let(self._held + text, last=False)

    def end(self) -> str:
        return "" if self.found else self._let(self._held, last=True)

    @property
    def _begins(self) -> bool:
        """Whether a line or a sentence begins with what comes next."""
        return self._before.rstrip(" \t")[-1:] in "\n.!?:…"

    def _let(self, text: str, *, last: bool) -> str:
        start, line = len(self._before), self._before + text
        if call := self._call.search(line, start):
            self.found = True
            return line[start : call.start()]
        maybe = None if last else self._maybe.search(line, start)
        held = maybe is not None and len(line) - maybe.start() <= _LONGEST
        at = maybe.start() if maybe and held else len(line)
        self._held, self._before = line[at:], line[:at][-8:]
        return line[start:at]


@lru_cache(maxsize=64)
def _patterns(tools: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """How a written call begins; and what may become that, at the end of what has come so far."""
    names = "|".join(map(re.escape, tools)) or r"(?!)"
    api = rf"default_api\b|functions\.\w+\(|print\(\s*(?:{names})\("
    code = rf"(?:{'|'.join(_CODE)})s?\b"
    calls = rf"{api}|call:default_api\b|(?:call:)?(?:{names})[({{]|\[?\s*\{{\s*\"(?:{_KEYS})\"\s*:|{code}"
    call = rf"(?:`{{3,}}|~{{3,}})[ \t]*[\w+-]*\s*(?:print\(\s*)?(?:{calls})|\b(?:{api})|{_BEGINS}(?:{calls})"
    call += rf"|print\(\s*default_api\b|<[|｜]?{_TAGS}|\[TOOL_"
    beginnings = "|".join(
        _beginning(word) for word in (*_CODE, *tools, *(f"call:{name}" for name in ("default_api", *tools)))
    )
    maybe = (
        r"(?:`{3,}|~{3,})[^\n]*(?:\n\s*[^\n]*)?\Z|[`~]{1,2}\Z"
        rf"|\b(?:{_beginning('default_api')}|{_beginning('functions.')}\w*|{_beginning('print(')}\s*\w*)\Z"
        rf"|{_BEGINS}(?:(?:{beginnings})s?|\[\s*|(?:\[\s*)?\{{\s*(?:\"\w*\"?\s*)?)\Z"
        rf"|<[|｜]?[\w▁]{{0,20}}\Z|{_beginning('[TOOL_')}\Z"
    )
    return re.compile(call), re.compile(maybe)


def _beginning(word: str) -> str:
    """A pattern for the first character of `word`, the first two, and so on."""
    pattern = ""
    for char in reversed(word):
        pattern = re.escape(char) + (f"(?:{pattern})?" if pattern else "")
    return pattern
