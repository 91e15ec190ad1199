"""Gemini's stream of events, as the messages that the library makes of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, NamedTuple

import httpx
import orjson
from google.genai import models as google
from google.genai.types import GenerateContentResponse
from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGeneration
from langchain_google_genai import chat_models as library

Json = dict[str, Any]

Kind = tuple[str, str]  # model version, reason of its end
Likes = dict[Kind, AIMessageChunk]

_KINDS = 50
_MANY = 8  # events that wait: the server is behind, and makes one message of their text
_FIELDS = {"candidates", "usageMetadata", "modelVersion", "responseId"}
_CANDIDATE = {"content", "index", "finishReason"}
_CONTENT = {"parts", "role"}
_COUNTS = (
    "promptTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount", "thoughtsTokenCount",
    "cachedContentTokenCount", "totalTokenCount",
)  # fmt: skip


class Odd(Exception):
    """The response is not a stream of events. content: from where on it is not."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.content = content


async def read(response: httpx.Response, likes: Likes) -> AsyncIterator[AIMessageChunk]:
    """The messages of a stream, as they come."""
    assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - for the type
    reader, rest, stream = Reader(likes), b"", aiter(response.stream)
    async for data in stream:
        *lines, rest = (rest + data).split(b"\n")
        events = [line[6:] for line in lines if line.startswith(b"data: ")]
        if odd := next((line for line in lines if line.strip() and not line.startswith(b"data: ")), None):
            raise Odd(b"\n".join([*lines[lines.index(odd) :], rest]) + b"".join([more async for more in stream]))
        for together in [events] if len(events) > _MANY else [[event] for event in events]:
            for message in reader.read(together):
                yield message
    if rest.strip():
        for message in reader.read([rest.removeprefix(b"data: ")]):
            yield message


def message_of(generation: ChatGeneration) -> AIMessageChunk:
    """A chunk as LangChain's `astream` gives it out, but for its id."""
    message = generation.message
    assert isinstance(message, AIMessageChunk)  # noqa: S101 - for the type
    message.response_metadata = {**(generation.generation_info or {}), **message.response_metadata}
    return message


class _Counted(NamedTuple):
    """Tokens of a stream so far. thought: None as long as there was no thinking."""

    asked: int
    said: int
    total: int
    cached: int
    thought: int | None

    def usage_since(self, before: _Counted | None) -> UsageMetadata:
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


class Reader:
    """Makes messages of one stream's events, as the library's `_astream` does.

    likes: by what they have in common, what the library made of events of mere text; filled here, and shared by all
    streams of a model.
    """

    def __init__(self, likes: Likes) -> None:
        self._likes = likes
        self._indexer = library._StreamBlockIndexer()
        self._counted: _Counted | None = None

    def read(self, events: Iterable[bytes]) -> Iterator[AIMessageChunk]:
        """The messages of events that are taken together: what is mere text in a row becomes one."""
        words, like, before = "", None, None
        for event in events:
            fields = _json(event)
            kind, text = _mere_text(fields)
            if like and (kind is None or self._likes.get(kind) is not like):
                yield self._copy(like, words, before)
                words, like = "", None
            if kind is None or kind not in self._likes:
                if "error" in fields:
                    raise Odd(b"data: " + event + b"\n\n")
                yield self._convert(fields, kind)
                continue
            if like is None:
                like, before = self._likes[kind], self._counted
            words += text
            self._count(fields.get("usageMetadata") or {})
        if like:
            yield self._copy(like, words, before)

    def _convert(self, fields: Json, kind: Kind | None) -> AIMessageChunk:
        """The library's own way."""
        response = GenerateContentResponse._from_response(
            response=google._GenerateContentResponse_from_mldev(fields), kwargs={}
        )
        counted = self._counted.usage_since(None) if self._counted else None
        result = library._response_to_result(response, stream=True, prev_usage=counted)
        message = message_of(result.generations[0])
        if kind is not None and len(self._likes) < _KINDS:
            self._likes[kind] = message.model_copy(deep=True)
        self._indexer.assign(message)
        if usage := message.usage_metadata:
            sums = add_usage(counted, usage)
            details: Json = {**sums.get("input_token_details", {}), **sums.get("output_token_details", {})}
            spent = sums["input_tokens"], sums["output_tokens"], sums["total_tokens"]
            self._counted = _Counted(*spent, details.get("cache_read", 0), details.get("reasoning"))
        return message

    def _copy(self, like: AIMessageChunk, words: str, before: _Counted | None) -> AIMessageChunk:
        usage = self._counted.usage_since(before) if self._counted and self._counted is not before else None
        copy = like.model_copy(
            update={
                "content": words if isinstance(like.content, str) else [{"type": "text", "text": words}],
                "usage_metadata": usage,
                "response_metadata": {**like.response_metadata, "safety_ratings": []},
                "additional_kwargs": {},
                "tool_calls": [],
                "invalid_tool_calls": [],
                "tool_call_chunks": [],
            }
        )
        self._indexer.assign(copy)
        return copy

    def _count(self, counts: Json) -> None:
        """Gemini reports sums. They only grow, but for the prompt's: there the last word is the best."""
        asked = (counts.get("promptTokenCount") or 0) + (counts.get("toolUsePromptTokenCount") or 0)
        thought, cached = counts.get("thoughtsTokenCount") or 0, counts.get("cachedContentTokenCount") or 0
        said, total = (counts.get("candidatesTokenCount") or 0) + thought, counts.get("totalTokenCount") or 0
        if asked + said + cached + total <= 0:
            return
        if (last := self._counted) is None:
            self._counted = _Counted(asked, said, total, cached, thought or None)
        else:
            most = thought or last.thought if last.thought is None else max(thought, last.thought)
            self._counted = _Counted(
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
