"""The mark by which a model tells the language of its caller, `⟦language: de⟧`, for a conversation whose platform tells
none. It asks for no request of its own, and is neither spoken nor remembered.

Its brackets are those of system notes (agent/turns/notes.py), which callers, pages and tools cannot write.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from langchain_core.messages import AIMessageChunk

from agent.languages import known_tag
from agent.turns import without_matches

_MARK = re.compile(r"⟦language:([^⟧]{0,30})⟧")
_AT_THE_HEAD = re.compile(rf"\A(?:\s*{_MARK.pattern})+\s*|{_MARK.pattern}")
_MAYBE = re.compile(r"⟦[^⟧]{0,40}\Z")


class LanguageMarks:
    """Feed it the text as it comes: it gives it without the marks, and holds back only what may become one. told: is
    given each language that is known."""

    def __init__(self, told: Callable[[str], None]) -> None:
        self._told = told
        self._held = ""

    def feed(self, text: str) -> str:
        if not self._held and "⟦" not in text:
            return text
        text = _MARK.sub(self._take, self._held + text)
        maybe = _MAYBE.search(text)
        at = maybe.start() if maybe else len(text)
        self._held = text[at:]
        return text[:at]

    def end(self) -> str:
        held, self._held = self._held, ""
        return held

    def _take(self, mark: re.Match[str]) -> str:
        if tag := known_tag(mark[1]):
            self._told(tag)
        return ""


def without_marks(message: AIMessageChunk) -> AIMessageChunk:
    return without_matches(message, _AT_THE_HEAD) if "⟦language:" in message.text else message
