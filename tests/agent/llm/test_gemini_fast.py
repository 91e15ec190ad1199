"""Gemini's shortcuts lead where the library goes: the same requests to the byte, the same messages to the field, the
same errors. What the library makes of the same bytes is asked each time, never written down."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any, cast

import httpx
import pytest
from google.genai import models as google
from google.genai.types import GenerateContentResponse
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.ai import add_ai_message_chunks, add_usage
from langchain_google_genai import ChatGoogleGenerativeAI, chat_models

from agent.llm.gemini import library as gemini_library
from agent.llm.gemini import stream as gemini_stream
from agent.llm.gemini.chat_model import Gemini as FastGemini
from agent.llm.gemini.library import GeminiClient, message_of
from agent.llm.gemini.transport import Transport
from agent.llm.load import load_model
from agent.turns.messages import apology_message, interrupted_message, tool_message, unsaid_message
from agent.turns.text_chunk import as_message, fields_of, merge, merge_text
from tests.agent.replay.test_run_files import ANSWERS, TOOL
from tests.support.gemini import Gemini, cut, error, text

MODEL = "gemini-3.5-flash-lite"
PROMPT = SystemMessage("Be brief.")


def fast(url: str = "http://127.0.0.1:9") -> FastGemini:
    model = load_model(MODEL, google_api_key="x", google_base_url=url)
    assert isinstance(model, FastGemini)
    return model


def slow(url: str = "http://127.0.0.1:9") -> ChatGoogleGenerativeAI:
    """The library alone."""
    model = load_model(MODEL, google_api_key="x", google_base_url=url, gemini_fast=False)
    assert isinstance(model, ChatGoogleGenerativeAI)
    return model


def transport_of(model: ChatGoogleGenerativeAI) -> Transport:
    transport: Transport = (model.client_args or {})["transport"]
    return transport


async def library_request(model: FastGemini, history: Sequence[BaseMessage], tools: Any = None) -> httpx.Request:
    with model.transport.answering() as answered:
        async for _ in ChatGoogleGenerativeAI._astream(model, list(history), tools=tools):
            pass
    return answered.requests[0]


async def read(model: ChatGoogleGenerativeAI, stream: bytes) -> str:
    """What it makes of these bytes, in sum. Where Gemini gives none, ids are the library's invention."""
    with transport_of(model).answering(stream):
        chunks = [chunk async for chunk in model.astream([PROMPT, HumanMessage("Hello?")])]
    return _as_text(add_ai_message_chunks(*chunks))


async def read_pieces(model: FastGemini, stream: bytes) -> str:
    with model.transport.answering(stream):
        return _as_text(merge([piece async for piece in model.pieces([PROMPT, HumanMessage("Hello?")])]))


def _as_text(message: AIMessageChunk) -> str:
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4,12}){4}", "an-id", json.dumps(message.model_dump(), sort_keys=True))


# Messages.


@pytest.mark.parametrize("kind", ANSWERS)
async def test_every_kind_of_answer_is_the_same_message(gemini: Gemini, kind: str) -> None:
    gemini.script(ANSWERS[kind])
    address = f"{gemini.url}/v1beta/models/{MODEL}:streamGenerateContent?alt=sse"
    async with httpx.AsyncClient() as http:
        stream = await http.post(address, json={"contents": [{"role": "user", "parts": [{"text": "Hello?"}]}]})
    model, wanted = fast(), await read(slow(), stream.content)
    for _ in range(2):  # the second time the shortcuts know this kind
        assert await read(model, stream.content) == wanted
        assert await read_pieces(model, stream.content) == wanted


_counts = st.fixed_dictionaries(
    {},
    optional={
        name: st.integers(0, 9) | st.none()
        for name in (
            "promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount",
            "cachedContentTokenCount", "toolUsePromptTokenCount",
        )
    },
)  # fmt: skip
_part = st.one_of(
    st.fixed_dictionaries({"text": st.text(max_size=4)}),
    st.fixed_dictionaries({"text": st.text(max_size=4), "thoughtSignature": st.just("c2lnbmVk")}),
    st.fixed_dictionaries({"text": st.text(min_size=1, max_size=4), "thought": st.just(True)}),
    st.just({"functionCall": {"id": "c", "name": "weather", "args": {"days": 3.0}}}),
)
_mostly_text = st.lists(st.just({"text": " word"}), min_size=1, max_size=1) | st.lists(_part, max_size=2)
_candidate = st.builds(
    lambda parts, more: {"content": {"role": "model", **({"parts": parts} if parts else {})}, "index": 0, **more},
    _mostly_text,
    st.sampled_from([{}, {}, {}, {"finishReason": "STOP"}, {"finishReason": "SAFETY"}, {"safetyRatings": [
        {"category": "HARM_CATEGORY_HARASSMENT", "probability": "LOW"}
    ]}]),
)  # fmt: skip
_event = st.fixed_dictionaries(
    {"candidates": st.lists(_candidate, max_size=1)},
    optional={
        "usageMetadata": _counts,
        "modelVersion": st.sampled_from([MODEL, "gemini-2.5-flash"]),
        "responseId": st.just("r"),
        "promptFeedback": st.just({"blockReason": "SAFETY"}),
    },
)


@settings(max_examples=40, deadline=None)
@given(st.lists(_event, min_size=1, max_size=6), st.data())
def test_any_stream_is_the_same_messages(events: list[dict[str, Any]], data: st.DataObject) -> None:
    """One by one as they are; and however many come together, the same in sum."""
    raw = [json.dumps(event).encode() for event in events]
    prev, indexer, wanted = None, chat_models._StreamBlockIndexer(), []
    for one in raw:
        fields = google._GenerateContentResponse_from_mldev(json.loads(one))
        response = GenerateContentResponse._from_response(response=fields, kwargs={})
        result = chat_models._response_to_result(response, stream=True, prev_usage=prev)
        message = message_of(result.generations[0])
        indexer.assign(message)
        usage = message.usage_metadata
        prev = usage if prev is None else add_usage(prev, usage)
        wanted.append(message)

    likes: gemini_stream.ChunkTemplates = {}
    for _ in range(2):
        reader = gemini_stream.Reader(likes)
        pieces = reader.read([b"data: " + one for one in raw])[0]
        assert [as_message(piece) for piece in pieces] == wanted
        assert [fields_of(piece) for piece in pieces] == [fields_of(message) for message in wanted]
        assert _sum([as_message(piece) for piece in merge_text(pieces)]) == _sum(wanted)

    reader, at = gemini_stream.Reader(likes), 0
    made: list[AIMessageChunk] = []
    while at < len(raw):
        together = data.draw(st.integers(1, 3))
        pieces = reader.read([b"data: " + one for one in raw[at : at + together]])[0]
        made += map(as_message, merge_text(pieces))
        at += together
    assert _sum(made) == _sum(wanted)


def _sum(messages: Sequence[AIMessageChunk]) -> tuple[Any, ...]:
    """What becomes of them, without metadata: LangChain cannot join all kinds."""
    merge = add_ai_message_chunks(*(message.model_copy(update={"response_metadata": {}}) for message in messages))
    return merge.text, merge.content, merge.tool_calls, merge.usage_metadata, merge.additional_kwargs


async def test_bytes_may_come_cut_anywhere(gemini: Gemini) -> None:
    stream = "".join(
        f'data: {{"candidates":[{{"content":{{"parts":[{{"text":"é{n} "}}]}}}}]}}\r\n\r\n' for n in range(9)
    )
    raw = stream.encode()
    for size in (1, 3, 7, 50, 1000):
        chunks = [raw[at : at + size] for at in range(0, len(raw), size)]
        response = httpx.Response(200, stream=_Pieces(chunks))
        made = [piece.text async for piece in gemini_stream.read(response, {})]
        assert "".join(made) == "".join(f"é{n} " for n in range(9))


class _Pieces(httpx.AsyncByteStream):
    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> Any:
        for piece in self._pieces:
            yield piece


# Requests.

_words = st.text(min_size=1, max_size=6)
_signed = st.booleans()


@st.composite
def _turns(draw: st.DrawFn) -> list[BaseMessage]:
    """A history as it is shown to the model: it ends with the caller's words, or with results."""
    messages: list[BaseMessage] = []
    count = draw(st.integers(1, 4))
    for turn in range(count):
        messages.append(HumanMessage(draw(_words), id=f"message:{turn}"))
        for step in range(draw(st.integers(0, 2))):
            messages += draw(_call(f"{turn}-{step}"))
        if turn < count - 1:
            messages.append(draw(_answer))
    return messages


@st.composite
def _call(draw: st.DrawFn, id_: str) -> list[BaseMessage]:
    calls = [
        {
            "name": f"tool{n}",
            "args": draw(st.dictionaries(_words, st.integers(0, 3) | _words, max_size=2)),
            "id": f"{id_}-{n}",
        }
        for n in range(draw(st.integers(1, 2)))
    ]
    signature = {"__gemini_function_call_thought_signatures__": {calls[0]["id"]: "c2lnbmVk"}} if draw(_signed) else {}
    content: Any = draw(st.sampled_from(["", "One moment.", [{"type": "text", "text": "Hm.", "index": 0}]]))
    message = AIMessage(
        content, tool_calls=calls, additional_kwargs=signature, response_metadata={"model_provider": "google_genai"}
    )
    return [
        message,
        *(draw(_result(c)) for c in calls),
    ]


def _result(call: Any) -> st.SearchStrategy[BaseMessage]:
    markers = st.sampled_from([None, "running", "unknown", "stopped"])
    made = st.builds(tool_message, _words | st.just('{"a": 1}'), marker=markers, failed=_signed,
                     call_id=st.just(call["id"]), name=st.just(call["name"]))  # fmt: skip
    return cast(st.SearchStrategy[BaseMessage], made)


_answer = st.one_of(
    st.builds(AIMessage, _words),
    st.builds(lambda words: interrupted_message(words, "t/0"), _words),
    st.builds(unsaid_message),
    st.builds(lambda words: apology_message(words, "t/0", own=1, reason="SAFETY"), _words),
    st.builds(
        lambda words, more: AIMessage(
            [{"type": "text", "text": words, "index": 0, **more}], response_metadata={"model_provider": "google_genai"}
        ),
        _words,
        st.sampled_from([{}, {"extras": {"signature": "c2lnbmVk"}}]),
    ),
    st.builds(lambda words: AIMessage([{"type": "text", "text": words}, {"type": "text", "text": "!"}]), _words),
)

_model = fast()


@settings(max_examples=30, deadline=None)
@given(st.lists(_turns(), min_size=1, max_size=2))
def test_any_history_is_the_same_request(histories: list[list[BaseMessage]]) -> None:
    asyncio.run(_same_requests(histories))


async def _same_requests(histories: list[list[BaseMessage]]) -> None:
    tools = _model.bind_tools([TOOL]).kwargs["tools"]  # type: ignore[attr-defined]
    for messages in histories + histories:
        made = await _model.fast_request([PROMPT, *messages], tools)
        wanted = await library_request(_model, [PROMPT, *messages], tools)
        assert made is not None
        assert made.content == wanted.content
        assert (made.method, made.url, made.headers) == (wanted.method, wanted.url, wanted.headers)


@pytest.mark.parametrize(
    "messages",
    [
        [HumanMessage("no prompt")],
        [PROMPT, SystemMessage("a second prompt"), HumanMessage("Hi")],
        [PROMPT, HumanMessage("Hi"), AIMessage("an answer to be continued")],
        [PROMPT, HumanMessage("Hi"), ToolMessage("of no call", tool_call_id="c1"), HumanMessage("Hi")],
    ],
)
async def test_what_is_not_a_conversation_is_left_to_the_library(messages: list[BaseMessage]) -> None:
    assert await fast().fast_request(messages, None) is None


async def test_what_is_kept_stays_bounded() -> None:
    model = fast()
    for n in range(40):
        await model.fast_request([SystemMessage(f"{n}"), HumanMessage("Hi")], None)
    assert len(model._request_templates) == 16


# Errors, and the way back.


@pytest.mark.parametrize("step", [error(400), error(401), error(429, retry_after=3), error(503), cut(text("a b c"), 2)])
async def test_a_failure_is_raised_as_the_library_does(gemini: Gemini, step: Any) -> None:
    raised = []
    model = fast(gemini.url)
    for one in (model, slow(gemini.url)):
        gemini.script(step)
        with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is compared
            async for _ in one.astream([PROMPT, HumanMessage("Hi")]):
                pass
        raised.append((type(caught.value), str(caught.value)))
        await one.aclose()
    assert raised[0] == raised[1]


async def _listen(model: ChatGoogleGenerativeAI, heard: list[str]) -> None:
    async for chunk in model.astream([PROMPT, HumanMessage("Hi")]):
        heard.append(chunk.text)


async def test_an_error_in_the_middle_of_a_stream_is_raised_as_the_library_does() -> None:
    model = fast()
    event = b'data: {"candidates":[{"content":{"parts":[{"text":"One"}]}}]}\r\n\r\n'
    for tail in (
        b'data: {"error":{"code":503,"message":"m"}}\r\n\r\n',
        b'{\n"error": {\n"code": 503}\n}',
        b'data: {"candidates":[\r\n\r\n',
    ):
        raised = []
        for one in (model, slow()):
            heard: list[str] = []
            with transport_of(one).answering(event + tail), pytest.raises(Exception) as caught:  # noqa: PT011
                await _listen(one, heard)
            raised.append(type(caught.value))
            assert heard == ["One"]
        assert raised[0] is raised[1]


@pytest.mark.parametrize(
    ("owner", "name", "instead"),
    [
        (chat_models, "_response_to_result", None),
        (chat_models, "_response_to_result", lambda response: response),
        (chat_models, "_StreamBlockIndexer", None),
        (google, "_GenerateContentResponse_from_mldev", None),
    ],
    ids=["gone", "another signature", "no indexer", "google's is gone"],
)
async def test_when_the_library_has_changed_it_does_everything_itself(
    gemini: Gemini, owner: Any, name: str, instead: Any, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It is only our module that finds the library changed; the library itself goes on."""
    changed = _Changed(owner, {name: instead})
    monkeypatch.setattr(gemini_library, "library" if owner is chat_models else "google", changed)
    model = fast(gemini.url)
    gemini.script(text("Still here."), text("And again."))
    with caplog.at_level(logging.WARNING):
        for words in ("Still here.", "And again."):
            chunks = [chunk async for chunk in model.astream([PROMPT, HumanMessage("Hi")])]
            assert "".join(chunk.text for chunk in chunks) == words
    assert [record.message for record in caplog.records if "slow way" in record.message] == [caplog.messages[0]]
    await model.aclose()


class _Changed:
    """A module in which some names are others; None: not there."""

    def __init__(self, module: Any, changes: dict[str, Any]) -> None:
        self._module, self._changes = module, changes

    def __getattr__(self, name: str) -> Any:
        found = self._changes[name] if name in self._changes else getattr(self._module, name)
        if found is None:
            raise AttributeError(name)
        return found


async def test_a_changed_request_is_noticed_too(monkeypatch: Any, caplog: pytest.LogCaptureFixture) -> None:
    parse = chat_models._convert_to_parts
    monkeypatch.setattr(chat_models, "_convert_to_parts", lambda *a, **k: [*parse(*a, **k), *parse("And more.")])
    assert not await fast()._is_alike()
    assert "slow way" in caplog.text


async def test_the_setting_switches_it_off() -> None:
    assert type(load_model(MODEL, google_api_key="x", gemini_fast=False)) is GeminiClient


async def test_a_connection_is_open_before_the_first_words_are_needed(gemini: Gemini, start: Any) -> None:
    """At the start, and again when a call begins."""
    backend = await start()
    await _until(lambda: gemini.warmed == 1)
    await backend.caller().say(None, type="session.start")
    await _until(lambda: gemini.warmed == 2)


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


async def test_five_hundred_streams_at_once_all_come_to_their_end(gemini: Gemini) -> None:
    gemini.answer = lambda body: text("One two three", delay=0.1)
    model = fast(gemini.url)

    async def one() -> str:
        return "".join([str(chunk.text) async for chunk in model.astream([PROMPT, HumanMessage("Hi")])])

    assert set(await asyncio.gather(*(one() for _ in range(500)))) == {"One two three"}
    await model.aclose()


async def test_connections_that_the_server_has_closed_while_they_were_idle_are_no_failure() -> None:
    """It closes them when the next request comes, so that nobody can know. A new one that is closed is a failure."""
    good, came = True, 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal came
        came += 1
        await reader.readuntil(b"\r\n\r\n")
        if good:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
            await reader.read(1)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, httpx.AsyncClient(transport=Transport()) as client:
        await asyncio.gather(*(client.post(url) for _ in range(5)))
        assert came == 5
        assert [(await client.post(url)).text for _ in range(2)] == ["hi"] * 2
        good, before = False, came
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post(url)
        assert came == before + 1
