"""A request to Gemini, put together from parts that were converted before."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import httpx
import orjson
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from agent.turns import OUR_METADATA

_MARK = "contents stand here"


class RequestTemplate:
    """A request without its contents. `tools` is held, so that its id stays its own."""

    def __init__(self, request: httpx.Request, tools: Any) -> None:
        self._tools = tools
        self._url = request.url
        self._headers = {name: value for name, value in request.headers.items() if name != "content-length"}
        body = {**json.loads(request.content), "contents": _MARK}
        self._head, self._tail = json.dumps(body).split(f'"{_MARK}"', 1)

    def around(self, contents: Iterable[str]) -> httpx.Request:
        body = f"{self._head}[{', '.join(contents)}]{self._tail}"
        return httpx.Request("POST", self._url, headers=self._headers, content=body.encode())


def by_turn(messages: Iterable[BaseMessage]) -> Iterator[list[BaseMessage]]:
    turn: list[BaseMessage] = []
    for message in messages:
        if isinstance(message, HumanMessage) and turn:
            yield turn
            turn = []
        turn.append(message)
    yield turn


def are_regular(turns: Sequence[Sequence[BaseMessage]]) -> bool:
    """Whether each turn can be converted by itself: results stand in the turn of their calls, and ids are unique."""
    ids: list[str | None] = []
    for turn in turns:
        calls = [call["id"] for message in turn if isinstance(message, AIMessage) for call in message.tool_calls]
        if any(isinstance(message, ToolMessage) and message.tool_call_id not in calls for message in turn):
            return False
        ids += calls
    known = all(isinstance(message, HumanMessage | AIMessage | ToolMessage) for turn in turns for message in turn)
    return known and len(set(ids)) == len(ids) and not isinstance(turns[-1][-1], AIMessage)


def text_content(message: BaseMessage) -> str | None:
    """A message that is nothing but text, in JSON."""
    content = message.content
    if isinstance(message, AIMessage):
        if message.tool_calls or message.invalid_tool_calls or message.additional_kwargs.keys() - OUR_METADATA:
            return None
        ours = message.response_metadata.get("model_provider") == "google_genai"
        if ours and len(content) == 1 and isinstance(content[0], dict):
            content = content[0]["text"] if content[0].keys() == {"type", "text", "index"} else content
    elif not isinstance(message, HumanMessage):
        return None
    if not isinstance(content, str) or not content:
        return None
    role = "user" if isinstance(message, HumanMessage) else "model"
    return f'{{"parts": [{{"text": {_quoted(content)}}}], "role": "{role}"}}'


def _quoted(text: str) -> str:
    """As `json.dumps` does it."""
    quick = text.isascii() and "\x7f" not in text  # which json.dumps writes as it is, and the library escapes
    return orjson.dumps(text).decode() if quick else json.dumps(text)
