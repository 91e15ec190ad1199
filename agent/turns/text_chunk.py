"""Mere text of a model's stream, without a message around it: a message costs more than all else that is done with a
token. It is made when somebody asks for it, as a rule once for the whole answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, NamedTuple

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import UsageMetadata, add_ai_message_chunks

_DERIVED = ("type", "id", "tool_calls", "invalid_tool_calls")  # made from the rest, or given anew


class TokenUsage(NamedTuple):
    """Tokens of a stream so far. thought: None as long as there was no thinking."""

    asked: int
    said: int
    total: int
    cached: int
    thought: int | None

    def since(self, before: TokenUsage | None) -> UsageMetadata:
        asked, said, total, cached, thought = before or (0, 0, 0, 0, 0)
        usage = UsageMetadata(
            input_tokens=self.asked - asked,
            output_tokens=self.said - said,
            total_tokens=self.total - total,
            input_token_details={"cache_read": self.cached - cached},
        )
        if self.thought is not None:
            usage["output_token_details"] = {"reasoning": self.thought - (thought or 0)}
        return usage


class ChunkTemplate:
    """What the provider's client made of one piece of mere text: others of its kind are like it, but for the words."""

    def __init__(self, message: AIMessageChunk) -> None:
        self._message = message.model_copy(deep=True)

    @property
    def in_blocks(self) -> bool:
        """Whether its content is a list of blocks."""
        return isinstance(self._message.content, list)

    @cached_property
    def fields(self) -> dict[str, Any]:
        """What is worth keeping of it, but for the words and their price."""
        return {name: value for name, value in fields_of(self.message("", None)).items() if name != "content"}

    def content(self, text: str, index: int | None) -> str | list[Any]:
        if not self.in_blocks:
            return text
        return [{"type": "text", "text": text, **({} if index is None else {"index": index})}]

    def message(self, text: str, index: int | None) -> AIMessageChunk:
        return self._message.model_copy(
            update={
                "content": self.content(text, index),
                "usage_metadata": None,
                "response_metadata": {**self._message.response_metadata, "safety_ratings": []},
                "additional_kwargs": {},
                "tool_calls": [],
                "invalid_tool_calls": [],
                "tool_call_chunks": [],
            }
        )


@dataclass(slots=True)
class TextChunk:
    """index: of their block in the answer, if it has blocks. before, after: what the stream had cost."""

    like: ChunkTemplate
    text: str
    index: int | None = None
    before: TokenUsage | None = None
    after: TokenUsage | None = None
    id: str | None = None

    @property
    def content(self) -> str | list[Any]:
        return self.like.content(self.text, self.index)

    @property
    def tool_call_chunks(self) -> tuple[()]:
        return ()

    @property
    def usage_metadata(self) -> UsageMetadata | None:
        return self.after.since(self.before) if self.after and self.after is not self.before else None

    @property
    def response_metadata(self) -> dict[str, Any]:
        about: dict[str, Any] = self.like.fields.get("response_metadata", {})
        return about

    def message(self) -> AIMessageChunk:
        message = self.like.message(self.text, self.index)
        message.usage_metadata, message.id = self.usage_metadata, self.id
        return message

    def fields(self) -> dict[str, Any]:
        """Those of `message()` that are worth keeping."""
        usage = self.usage_metadata
        return {**self.like.fields, "content": self.content, **({"usage_metadata": usage} if usage else {})}


Chunk = AIMessageChunk | TextChunk


def as_message(piece: Chunk) -> AIMessageChunk:
    return piece.message() if isinstance(piece, TextChunk) else piece


def without_text(piece: Chunk) -> AIMessageChunk:
    """The message with all that it has but its words."""
    message = as_message(piece)
    content = message.content
    if isinstance(content, list):
        words = [block for block in content if isinstance(block, str) or block.get("text")]
        return message.model_copy(update={"content": [block for block in content if block not in words]})
    return message.model_copy(update={"content": ""})


def without_matches(message: AIMessageChunk, pattern: re.Pattern[str]) -> AIMessageChunk:
    """The message without what of its text the pattern matches, be it in one block or go over several."""
    spans = [found.span() for found in pattern.finditer(message.text)]
    if isinstance(message.content, str):
        return message.model_copy(update={"content": _outside(spans, message.content, 0)})
    content, at = list[Any](), 0
    for block in message.content:
        text = block if isinstance(block, str) else block.get("text", "") if block.get("type") == "text" else ""
        left, at = _outside(spans, text, at), at + len(text)
        if left == text:
            content.append(block)
        elif left or (isinstance(block, dict) and block.keys() - {"type", "text", "index"}):
            content.append(left if isinstance(block, str) else {**block, "text": left})
    return message.model_copy(update={"content": content})


def _outside(spans: Sequence[tuple[int, int]], text: str, at: int) -> str:
    """The part of `text`, which begins `at` so many characters, that is in none of the spans."""
    inside = (any(start <= place < end for start, end in spans) for place in range(at, at + len(text)))
    return "".join(char for char, is_inside in zip(text, inside, strict=True) if not is_inside)


def fields_of(piece: Chunk) -> dict[str, Any]:
    """What is worth keeping of a message."""
    if isinstance(piece, TextChunk):
        return piece.fields()
    kept = {n: value for n, value in vars(piece).items() if n not in _DERIVED and value not in (None, [], {})}
    return {**kept, "content": piece.content}


def merge(pieces: Iterable[Chunk]) -> AIMessageChunk:
    """The message that a stream of at least one piece comes to."""
    first, *rest = map(as_message, merge_text(pieces))
    return add_ai_message_chunks(first, *rest)


def merge_text(pieces: Iterable[Chunk]) -> Iterator[Chunk]:
    """Words in a row that are alike, as one."""
    for kind, group in groupby(
        pieces, lambda piece: (piece.like, piece.index) if isinstance(piece, TextChunk) else None
    ):
        if kind is None:
            yield from group
        else:
            first, *rest = (piece for piece in group if isinstance(piece, TextChunk))
            last = rest[-1] if rest else first
            text = first.text + "".join(piece.text for piece in rest)
            yield TextChunk(first.like, text, first.index, first.before, last.after, first.id)
