"""Gemini's stream of events, as the messages that the library makes of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import httpx
import orjson
from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import add_usage

from agent.llm.gemini.library import block_indexer, convert_event
from agent.turns import Chunk, ChunkTemplate, TextChunk, TokenUsage, merge_text

Json = dict[str, Any]

Kind = tuple[str, str]  # model version, reason of its end
ChunkTemplates = dict[Kind, ChunkTemplate]

_KINDS = 50
_MANY = 8  # events that wait: the server is behind, and makes one piece of their words
_FIELDS = {"candidates", "usageMetadata", "modelVersion", "responseId"}
_CANDIDATE = {"content", "index", "finishReason"}
_CONTENT = {"parts", "role"}
_COUNTS = (
    "promptTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount", "thoughtsTokenCount",
    "cachedContentTokenCount", "totalTokenCount",
)  # fmt: skip


class UnexpectedResponse(Exception):
    """The response is not a stream of events. content: from where on it is not."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.content = content


async def read(response: httpx.Response, likes: ChunkTemplates) -> AsyncIterator[Chunk]:
    """The messages of a stream, as they come; words where they are mere text."""
    assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - for the type
    reader, rest, stream = Reader(likes), b"", aiter(response.stream)
    async for data in stream:
        *lines, rest = (rest + data).split(b"\n")
        pieces, odd = reader.read(lines)
        for piece in merge_text(pieces) if len(pieces) > _MANY else pieces:
            yield piece
        if odd is not None:
            raise UnexpectedResponse(b"\n".join([*odd, rest]) + b"".join([more async for more in stream]))
    pieces, odd = reader.read([rest])
    for piece in pieces:
        yield piece
    if odd is not None:
        raise UnexpectedResponse(b"\n".join(odd))


class Reader:
    """Makes messages of one stream's events, as the library's `_astream` does.

    likes: by what they have in common, what the library made of events of mere text; filled here, and shared by all
    streams of a model.
    """

    def __init__(self, likes: ChunkTemplates) -> None:
        self._likes = likes
        self._indexer = block_indexer()
        self._counted: TokenUsage | None = None
        self._open: ChunkTemplate | None = None  # that of the last piece, if it was mere text
        self._index: int | None = None

    def read(self, lines: Sequence[bytes]) -> tuple[list[Chunk], Sequence[bytes] | None]:
        """The pieces in whole lines, one for each event, up to the first line that is none, or cannot be read; and the
        lines from there on, if there is one."""
        pieces: list[Chunk] = []
        for at, line in enumerate(lines):
            try:
                piece = self._piece(line[6:]) if line.startswith(b"data: ") else None
            except ValueError:
                piece = None  # the library shall say what is wrong with it
            if piece is not None:
                pieces.append(piece)
            elif line.strip():
                return pieces, lines[at:]
        return pieces, None

    def _piece(self, event: bytes) -> Chunk | None:
        fields = _json(event)
        kind, text = _mere_text(fields)
        if like := self._likes.get(kind) if kind else None:
            before = self._counted
            self._count(fields.get("usageMetadata") or {})
            return self._words(like, text, before)
        return None if "error" in fields else self._convert(fields, kind)

    def _convert(self, fields: Json, kind: Kind | None) -> AIMessageChunk:
        """The library's own way."""
        counted = self._counted.since(None) if self._counted else None
        message = convert_event(fields, counted)
        if kind is not None and len(self._likes) < _KINDS:
            self._likes[kind] = ChunkTemplate(message)
        self._open = None
        self._indexer.assign(message)
        if usage := message.usage_metadata:
            sums = add_usage(counted, usage)
            details: Json = {**sums.get("input_token_details", {}), **sums.get("output_token_details", {})}
            spent = sums["input_tokens"], sums["output_tokens"], sums["total_tokens"]
            self._counted = TokenUsage(*spent, details.get("cache_read", 0), details.get("reasoning"))
        return message

    def _words(self, like: ChunkTemplate, text: str, before: TokenUsage | None) -> TextChunk:
        if like is not self._open:
            message = like.message(text, None)
            self._indexer.assign(message)
            self._open, self._index = like, cast(Any, message.content)[0]["index"] if like.in_blocks else None
        return TextChunk(like, text, self._index, before, self._counted)

    def _count(self, counts: Json) -> None:
        """Gemini reports sums. They only grow, but for the prompt's: there the last word is the best."""
        asked = (counts.get("promptTokenCount") or 0) + (counts.get("toolUsePromptTokenCount") or 0)
        thought, cached = counts.get("thoughtsTokenCount") or 0, counts.get("cachedContentTokenCount") or 0
        said, total = (counts.get("candidatesTokenCount") or 0) + thought, counts.get("totalTokenCount") or 0
        if asked + said + cached + total <= 0:
            return
        if (last := self._counted) is None:
            self._counted = TokenUsage(asked, said, total, cached, thought or None)
        else:
            most = thought or last.thought if last.thought is None else max(thought, last.thought)
            self._counted = TokenUsage(
                asked, max(said, last.said), max(total, last.total), max(cached, last.cached), most
            )


def _mere_text(fields: Json) -> tuple[Kind | None, str]:
    """The words of an event that has nothing else to it, and what it has in common with others of its kind."""
    try:
        (candidate,) = fields["candidates"]
        (part,) = candidate["content"]["parts"]
        text, version, finish = part["text"], fields.get("modelVersion", ""), candidate.get("finishReason", "")
        counts = fields.get("usageMetadata") or {}
        mere = (
            text and type(text) is type(version) is type(finish) is str
            and len(part) == 1
            and fields.keys() <= _FIELDS and candidate.keys() <= _CANDIDATE and candidate["content"].keys() <= _CONTENT
            and all(type(counts.get(name, 0)) is int for name in _COUNTS)
        )  # fmt: skip
    except (AttributeError, KeyError, TypeError, ValueError):
        return None, ""
    return ((version, finish), text) if mere else (None, "")


def _json(text: bytes) -> Json:
    try:
        return orjson.loads(text)  # type: ignore[no-any-return]
    except ValueError:  # it is stricter than Google's client, about half a surrogate for one
        return json.loads(text)  # type: ignore[no-any-return]
