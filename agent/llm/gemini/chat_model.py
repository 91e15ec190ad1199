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
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolCall,
    ToolMessage,
)
from langchain_core.runnables.config import ensure_config
from langchain_google_genai import ChatGoogleGenerativeAI
from pydantic import PrivateAttr

from agent.llm.gemini import request as gemini_request
from agent.llm.gemini import stream as gemini_stream
from agent.llm.gemini.transport import Transport
from agent.turns.text_chunk import Piece, as_message

log = logging.getLogger(__name__)

Json = dict[str, Any]

_KEPT = 1_000  # converted turns
_SIGNATURES = "__gemini_function_call_thought_signatures__"


class Gemini(ChatGoogleGenerativeAI):
    """ChatGoogleGenerativeAI whose `client_args` have a Transport. Streaming alone has shortcuts, and only while no
    tracer wants to know of each token."""

    _frames: dict[Any, gemini_request.Frame] = PrivateAttr(default_factory=dict)
    _turns: dict[str, str] = PrivateAttr(default_factory=dict)
    _likes: gemini_stream.Likes = PrivateAttr(default_factory=dict)
    _alike: bool | None = PrivateAttr(default=None)

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
        if stop or not kwargs.keys() <= {"tools"}:
            async for chunk in super().astream(input, config, stop=stop, **kwargs):
                yield chunk
            return
        async for piece in self.pieces(self._convert_input(input).to_messages(), config, **kwargs):
            yield as_message(piece)

    async def pieces(
        self, messages: Sequence[BaseMessage], config: Any = None, *, tools: Any = None
    ) -> AsyncIterator[Piece]:
        """As `astream`, with words in place of messages that are mere text."""
        request = None
        if not self._is_watched(config) and await self._is_alike():
            request = await self._request(messages, tools)
        if request is None:
            async for chunk in super().astream([*messages], config, **({"tools": tools} if tools else {})):
                yield chunk
            return
        id_, last = f"lc_run--{uuid.uuid4()}", None
        response = await self.transport.handle_async_request(request)
        try:
            if response.status_code != 200:
                raise gemini_stream.Odd(await response.aread())
            async for last in gemini_stream.read(response, self._likes):
                last.id = id_
                yield last
        except gemini_stream.Odd as odd:
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
            return [gemini_stream.message_of(chunk) async for chunk in self._astream([HumanMessage(".")])]

    # The request.

    async def _request(self, messages: Sequence[BaseMessage], tools: Any) -> httpx.Request | None:
        """None when only the library can tell what it must be."""
        system, *history = messages
        turns = list(gemini_request.by_turn(history))
        if not isinstance(system, SystemMessage) or not history or not gemini_request.are_regular(turns):
            return None
        key = str(system.content), id(tools)
        if key not in self._frames:
            _make_room(self._frames, 16)
            self._frames[key] = gemini_request.Frame(await self._library_request([system, history[0]], tools), tools)
        contents = [await self._contents(turn, is_last=turn is turns[-1]) for turn in turns]
        return self._frames[key].around(contents)

    async def _contents(self, turn: Sequence[BaseMessage], *, is_last: bool) -> str:
        """A turn in JSON. What the library makes of it depends on whether it is the last one (a call that has no
        signature gets a placeholder there), and on nothing else around it."""
        simple = [gemini_request.text_content(message) for message in turn]
        if None not in simple:
            return ", ".join(filter(None, simple))
        key = f"{is_last} {[vars(message) for message in turn]!r}"
        if key not in self._turns:
            _make_room(self._turns, _KEPT)
            request = await self._library_request([*turn] if is_last else [*turn, HumanMessage(".")])
            contents = json.loads(request.content)["contents"]
            self._turns[key] = json.dumps(contents if is_last else contents[:-1])[1:-1]
        return self._turns[key]

    async def _library_request(self, messages: Sequence[BaseMessage], tools: Any = None) -> httpx.Request:
        with self.transport.answering() as answered:
            async for _ in self._astream([*messages], **({"tools": tools} if tools else {})):
                pass
        return answered.requests[0]

    # The trial.

    async def _is_alike(self) -> bool:
        """Whether the shortcuts lead where the library goes, with this version of it. Tried once."""
        if self._alike is None:
            try:
                self._alike = await self._try()
            except Exception as error:
                log.debug("the trial failed", exc_info=error)
                self._alike = False
            if not self._alike:
                log.warning("Gemini's client is not the one that agent/llm/gemini/ knows: answers take its slow way.")
        return self._alike

    async def _try(self) -> bool:
        quick, slow = await self._request(_TRIAL_HISTORY, None), await self._library_request(_TRIAL_HISTORY)
        with self.transport.answering(_TRIAL_STREAM):
            wanted = [gemini_stream.message_of(chunk) async for chunk in self._astream([HumanMessage(".")])]
        for _ in range(2):  # the second time it knows all kinds of text
            reader = gemini_stream.Reader(self._likes)
            made = [as_message(piece) for piece in reader.read(_TRIAL_STREAM.splitlines())[0]]
        return quick is not None and (quick.content, quick.url, made) == (slow.content, slow.url, wanted)


def _make_room(kept: dict[Any, Any], limit: int) -> None:
    """The oldest goes."""
    if len(kept) >= limit:
        del kept[next(iter(kept))]


# The trial's: a little of everything that has a shortcut, and the unusual between.

_CALL = ToolCall(name="clock", args={"place": "Rome"}, id="c1", type="tool_call")
_TRIAL_HISTORY: list[BaseMessage] = [
    SystemMessage("Be brief."),
    HumanMessage("Hallo \u2013 wie spät ist es?"),
    AIMessage("", tool_calls=[_CALL], additional_kwargs={_SIGNATURES: {"c1": "c2lnbmVk"}}),
    ToolMessage("12:00", tool_call_id="c1", name="clock"),
    AIMessage([{"type": "text", "text": "Zwölf.", "index": 0}], response_metadata={"model_provider": "google_genai"}),
    HumanMessage("Thanks"),
    AIMessage("You are welcome."),
    HumanMessage("Bye"),
]


def _trial_event(part: Json, said: int, **more: str) -> bytes:
    candidate = {"content": {"parts": [part], "role": "model"}, "index": 0, **more}
    counts = {"promptTokenCount": 9, "candidatesTokenCount": said, "totalTokenCount": 9 + said}
    tail = {"usageMetadata": counts, "modelVersion": "gemini-3.5-flash-lite", "responseId": "r"}
    return json.dumps({"candidates": [candidate], **tail}).encode()


_TRIAL_EVENTS = [
    _trial_event({"text": "It is"}, 2),
    _trial_event({"text": " twelve"}, 3),
    _trial_event({"text": " o'clock."}, 5),
    _trial_event({"functionCall": {"id": "c2", "name": "clock", "args": {}}, "thoughtSignature": "c2lnbmVk"}, 9),
    _trial_event({"text": " Bye"}, 10),
    _trial_event({"text": " now"}, 11),
    _trial_event({"text": "!"}, 12, finishReason="STOP"),
]
_TRIAL_STREAM = b"".join(b"data: %b\r\n\r\n" % event for event in _TRIAL_EVENTS)
