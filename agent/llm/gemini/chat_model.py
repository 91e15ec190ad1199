"""Gemini, read close to the wire.

The library (langchain-google-genai on google-genai) builds nested objects for every token, and converts the whole
history, the tools and the prompt anew for every request: 0.3 ms a token and 5 to 15 ms a request, on the event loop.
Here it does all that is unusual, and these shortcuts the rest:

    a chunk that is mere text                       its words, with the message that the first such chunk became
    a message that is mere text                     written into the request as it is
    an earlier turn with tool calls in it           converted once by the library, then kept
    prompt and tools                                converted once by the library, then kept

Requests and messages are the library's, byte for byte and field for field. That is tried once, before the first
answer: should the library have changed in the meantime, it does everything itself again, and the log says so.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
from langchain_core.callbacks import AsyncCallbackManager
from langchain_core.messages import (
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
)
from langchain_core.runnables.config import ensure_config
from langchain_google_genai import ChatGoogleGenerativeAI
from pydantic import PrivateAttr

from agent.failures import logged
from agent.llm.gemini import request as gemini_request
from agent.llm.gemini import stream as gemini_stream
from agent.llm.gemini.library import message_of
from agent.llm.gemini.self_check import shortcuts_are_right
from agent.llm.gemini.transport import Transport
from agent.turns import Chunk, as_message

log = logging.getLogger(__name__)

Json = dict[str, Any]

_KEPT = 1_000  # converted turns


class Gemini(ChatGoogleGenerativeAI):
    """ChatGoogleGenerativeAI whose `client_args` have a Transport. Streaming alone has shortcuts, and only while no
    tracer wants to know of each token."""

    _request_templates: dict[Any, gemini_request.RequestTemplate] = PrivateAttr(default_factory=dict)
    _turns: dict[str, str] = PrivateAttr(default_factory=dict)
    _templates: gemini_stream.ChunkTemplates = PrivateAttr(default_factory=dict)
    _align: bool | None = PrivateAttr(default=None)

    @property
    def transport(self) -> Transport:
        transport: Transport = (self.client_args or {})["transport"]
        return transport

    async def astream(
        self,
        input: Any,  # noqa: A002 - LangChain's name
        config: Any = None,
        *,
        stop: Any = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        if stop or not kwargs.keys() <= {"tools", "tool_choice"}:
            async for chunk in super().astream(input, config, stop=stop, **kwargs):
                yield chunk
            return
        async for piece in self.pieces(self._convert_input(input).to_messages(), config, **kwargs):
            yield as_message(piece)

    async def pieces(
        self, messages: Sequence[BaseMessage], config: Any = None, *, tools: Any = None, tool_choice: Any = None
    ) -> AsyncIterator[Chunk]:
        """As `astream`, with words in place of messages that are mere text."""
        request = None
        if not self._is_watched(config) and await self._is_alike():
            request = await self.fast_request(messages, tools, tool_choice)
        if request is None:
            async for chunk in super().astream([*messages], config, **_options(tools, tool_choice)):
                yield chunk
            return
        id_, last = f"lc_run--{uuid.uuid4()}", None
        response = await self.transport.handle_async_request(request)
        try:
            if response.status_code != 200:
                raise gemini_stream.UnexpectedResponse(await response.aread())
            async for last in gemini_stream.read(response, self._templates):
                last.id = id_
                yield last
        except gemini_stream.UnexpectedResponse as odd:
            for last in await self._read_by_library(odd.content, response):
                yield last
        finally:
            await response.aclose()
        if last:
            yield AIMessageChunk(content="" if isinstance(last.content, str) else [], chunk_position="last", id=id_)

    def _is_watched(self, config: Any) -> bool:
        callbacks = AsyncCallbackManager.configure(ensure_config(config).get("callbacks"), self.callbacks, self.verbose)
        return bool(callbacks.handlers) or self.output_version == "v1"

    async def _read_by_library(self, content: bytes, response: httpx.Response) -> Sequence[AIMessageChunk]:
        """What the library makes of a response, which as a rule is its error."""
        with self.transport.answering(content, response.status_code, response.headers.get("content-type", "")):
            return [message_of(chunk) async for chunk in self._astream([HumanMessage(".")])]

    # The request.

    async def fast_request(
        self, messages: Sequence[BaseMessage], tools: Any, tool_choice: Any = None
    ) -> httpx.Request | None:
        """None when only the library can tell what it must be."""
        system, *history = messages
        turns = list(gemini_request.by_turn(history))
        if not isinstance(system, SystemMessage) or not history or not gemini_request.are_regular(turns):
            return None
        key = str(system.content), id(tools), str(tool_choice)
        if key not in self._request_templates:
            _make_room(self._request_templates, 16)
            self._request_templates[key] = gemini_request.RequestTemplate(
                await self.library_request([system, history[0]], tools, tool_choice), tools
            )
        contents = [await self._contents(turn, is_last=turn is turns[-1]) for turn in turns]
        return self._request_templates[key].around(contents)

    async def _contents(self, turn: Sequence[BaseMessage], *, is_last: bool) -> str:
        """A turn in JSON. What the library makes of it depends on whether it is the last one (a call that has no
        signature gets a placeholder there), and on nothing else around it."""
        simple = [gemini_request.text_content(message) for message in turn]
        if None not in simple:
            return ", ".join(filter(None, simple))
        key = f"{is_last} {[vars(message) for message in turn]!r}"
        if key not in self._turns:
            _make_room(self._turns, _KEPT)
            request = await self.library_request([*turn] if is_last else [*turn, HumanMessage(".")])
            contents = json.loads(request.content)["contents"]
            self._turns[key] = json.dumps(contents if is_last else contents[:-1])[1:-1]
        return self._turns[key]

    async def library_request(
        self, messages: Sequence[BaseMessage], tools: Any = None, tool_choice: Any = None
    ) -> httpx.Request:
        with self.transport.answering() as answered:
            async for _ in self._astream([*messages], **_options(tools, tool_choice)):
                pass
        return answered.requests[0]

    async def _is_alike(self) -> bool:
        """Whether the shortcuts lead where the library goes, with this version of it. Tried once."""
        if self._align is None:
            right = False
            with logged(log, "Gemini's client could not be tried", level=logging.DEBUG):
                right = await shortcuts_are_right(self)
            self._align = right
            if not self._align:
                log.warning("Gemini's client is not the one that agent/llm/gemini/ knows: answers take its slow way.")
        return self._align


def _options(tools: Any, tool_choice: Any) -> Json:
    return {name: value for name, value in (("tools", tools), ("tool_choice", tool_choice)) if value}


def _make_room(kept: dict[Any, Any], limit: int) -> None:
    """The oldest goes."""
    if len(kept) >= limit:
        del kept[next(iter(kept))]
