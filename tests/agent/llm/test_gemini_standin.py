"""The stand-in for Gemini, seen through the real client."""

import asyncio
import base64
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_google_genai.chat_models import (
    GoogleAPIError,
    GoogleInvalidRequestError,
    GoogleRateLimitError,
)

from agent.llm.gemini.transport import Transport
from tests.support.gemini import Gemini, Json, Step, calls, cut, error, responses, said, stall, text, thought
from tests.support.gemini_rules import PLACEHOLDER, check

MODEL = "gemini-3.5-flash-lite"
SIGNATURES = "__gemini_function_call_thought_signatures__"
TOOLS: list[dict[str, Any]] = [
    {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
    {"name": "clock", "description": "The time.", "parameters": {"type": "object", "properties": {}}},
]


@pytest.fixture
def gemini() -> Iterator[Gemini]:
    with Gemini() as running:
        yield running


@pytest.fixture
async def model(gemini: Gemini) -> AsyncIterator[ChatGoogleGenerativeAI]:
    model = connect(gemini)
    yield model
    await model.aclose()


def connect(gemini: Gemini, **options: Any) -> ChatGoogleGenerativeAI:
    """With our transport: without one, google-genai's depends on what is installed, and so do its exceptions."""
    options["client_args"] = {"transport": Transport()}
    return ChatGoogleGenerativeAI(model=MODEL, google_api_key="x", base_url=gemini.url, max_retries=1, **options)


async def ask(model: ChatGoogleGenerativeAI, history: list[BaseMessage]) -> AIMessageChunk:
    """The whole answer, put together from its chunks as LangGraph does it."""
    whole = None
    async for chunk in model.bind_tools(TOOLS).astream(history):
        assert isinstance(chunk, AIMessageChunk)
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    return whole


def answered(message: AIMessage) -> list[ToolMessage]:
    return [ToolMessage(f"result of {call['name']}", tool_call_id=call["id"]) for call in message.tool_calls]


async def hear(model: ChatGoogleGenerativeAI, words: list[str]) -> None:
    """Appends each word when it comes, so that what came before an error is known."""
    async for chunk in model.astream("hi"):
        if chunk.text:
            words.append(chunk.text.strip())


def signed_parts(body: Json) -> list[Json]:
    return [part for content in body["contents"] for part in content["parts"] if "thoughtSignature" in part]


def same_bytes(sent: str, issued: str) -> bool:
    """The client may change the alphabet of the base64, but not what it stands for."""
    return base64.urlsafe_b64decode(sent) == base64.b64decode(issued)


# Streaming


async def test_text_arrives_word_by_word_while_it_is_being_said(gemini: Gemini, model: ChatGoogleGenerativeAI) -> None:
    gemini.script(text("Hello there, you.", delay=0.1))
    heard = [(chunk.text, time.monotonic()) async for chunk in model.astream("hi")]

    assert [word for word, _ in heard if word] == ["Hello ", "there, ", "you."]
    await gemini.settled()
    [request] = gemini.requests
    assert heard[0][1] < request.tokens[-1]
    assert request.finished
    assert not request.closed_early
    assert (request.model, said(request.body), len(request.tokens)) == (MODEL, "hi", 3)
    assert request.headers["x-goog-api-key"] == "x"
    gemini.verify()


async def test_a_text_can_be_cut_into_a_given_number_of_chunks(gemini: Gemini, model: ChatGoogleGenerativeAI) -> None:
    gemini.script(text("twelve chars", tokens=6))
    assert [chunk.text async for chunk in model.astream("hi") if chunk.text] == [
        "tw",
        "el",
        "ve",
        " c",
        "ha",
        "rs",
    ]


async def test_an_empty_answer_is_one_chunk_without_parts(gemini: Gemini, model: ChatGoogleGenerativeAI) -> None:
    gemini.script(text(""))
    whole = await ask(model, [HumanMessage("hi")])
    assert whole.text == ""
    assert whole.response_metadata["finish_reason"] == "STOP"


async def test_usage_model_and_finish_reason_reach_the_message(gemini: Gemini, model: ChatGoogleGenerativeAI) -> None:
    gemini.script(thought("Let me think.", text("One two three", finish="MAX_TOKENS")))
    whole = await ask(model, [HumanMessage("count")])

    assert whole.text == "One two three"
    assert whole.response_metadata["finish_reason"] == "MAX_TOKENS"
    assert whole.response_metadata["model_name"] == MODEL
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] == 4
    assert whole.usage_metadata.get("output_token_details") == {"reasoning": 1}


async def test_a_thought_is_not_part_of_what_is_said(gemini: Gemini, model: ChatGoogleGenerativeAI) -> None:
    gemini.script(thought("Paris, I think.", text("Paris.")))
    whole = await ask(model, [HumanMessage("capital of France?")])
    assert whole.text == "Paris."
    assert isinstance(whole.content, list)
    assert isinstance(whole.content[0], dict)
    assert whole.content[0]["thinking"] == "Paris, I think."


async def test_the_answer_without_streaming_is_the_same(gemini: Gemini, model: ChatGoogleGenerativeAI) -> None:
    gemini.script(calls(("clock", {}), text="Let me see."))
    message = await model.bind_tools(TOOLS).ainvoke("what time is it?")
    assert message.text == "Let me see."
    assert [call["name"] for call in message.tool_calls] == ["clock"]
    gemini.verify()


# Calls and their signatures


async def test_a_call_comes_back_with_the_signature_it_left_with(gemini: Gemini, model: ChatGoogleGenerativeAI) -> None:
    gemini.script(calls(("weather", {"city": "Paris"}), text="Let me see."), text("It is sunny."))
    history: list[BaseMessage] = [SystemMessage("Be kind."), HumanMessage("weather in Paris?")]
    call = await ask(model, history)
    whole = await ask(model, [*history, call, *answered(call)])

    assert whole.text == "It is sunny."
    [(issued, name)] = gemini.issued.items()
    assert name == "weather"
    assert call.additional_kwargs[SIGNATURES] == {call.tool_calls[0]["id"]: issued}
    [part] = signed_parts(gemini.requests[1].body)
    assert part["functionCall"] == {"name": "weather", "args": {"city": "Paris"}}
    assert same_bytes(part["thoughtSignature"], issued)
    [response] = responses(gemini.requests[1].body)
    assert response["name"] == "weather"
    gemini.verify()


@pytest.mark.parametrize("apart", [False, True])
async def test_of_parallel_calls_only_the_first_is_signed(
    gemini: Gemini, model: ChatGoogleGenerativeAI, apart: bool
) -> None:
    gemini.script(calls(("weather", {"city": "Paris"}), ("clock", {}), apart=apart), text("Done."))
    call = await ask(model, [HumanMessage("both")])
    await ask(model, [HumanMessage("both"), call, *answered(call)])

    assert [made["name"] for made in call.tool_calls] == ["weather", "clock"]
    assert len(gemini.requests[0].tokens) == (2 if apart else 1)
    [part] = signed_parts(gemini.requests[1].body)
    assert part["functionCall"]["name"] == "weather"
    gemini.verify()


async def test_the_signature_of_a_text_comes_back_too(gemini: Gemini, model: ChatGoogleGenerativeAI) -> None:
    gemini.script(text("Hello there.", signature=True), text("Fine."))
    first = await ask(model, [HumanMessage("hi")])
    await ask(model, [HumanMessage("hi"), first, HumanMessage("how are you?")])

    assert first.text == "Hello there."
    [part] = signed_parts(gemini.requests[1].body)
    [issued] = gemini.issued
    assert same_bytes(part["thoughtSignature"], issued)
    gemini.verify()


async def test_a_rebuilt_message_has_lost_its_signature_and_is_refused(
    gemini: Gemini, model: ChatGoogleGenerativeAI
) -> None:
    gemini.script(calls(("clock", {})))
    call = await ask(model, [HumanMessage("time?")])
    rebuilt = AIMessage(call.content, tool_calls=call.tool_calls)

    with pytest.raises(GoogleInvalidRequestError, match="lost its signature"):
        await ask(model, [HumanMessage("time?"), rebuilt, *answered(rebuilt)])
    [violation] = gemini.violations
    assert "placeholder" in violation
    assert signed_parts(gemini.requests[1].body)[0]["thoughtSignature"] == PLACEHOLDER


async def test_a_dangling_call_is_refused(gemini: Gemini, model: ChatGoogleGenerativeAI) -> None:
    gemini.script(calls(("clock", {})))
    call = await ask(model, [HumanMessage("time?")])
    with pytest.raises(GoogleInvalidRequestError):
        await ask(model, [HumanMessage("time?"), call, HumanMessage("never mind")])
    [violation] = gemini.violations
    assert violation == "contents[2] responds to [], where the calls before it were ['clock']"


async def test_the_client_sends_results_in_the_order_of_the_messages_not_of_the_calls(
    gemini: Gemini, model: ChatGoogleGenerativeAI
) -> None:
    gemini.script(calls(("weather", {"city": "Paris"}), ("clock", {})))
    call = await ask(model, [HumanMessage("both")])
    with pytest.raises(GoogleInvalidRequestError, match="responds to"):
        await ask(model, [HumanMessage("both"), call, *reversed(answered(call))])


# What goes wrong


@pytest.mark.parametrize(
    ("status", "raised"),
    [(400, GoogleInvalidRequestError), (429, GoogleRateLimitError), (503, GoogleAPIError)],
)
async def test_an_error_has_the_type_the_client_gives_it(
    gemini: Gemini, model: ChatGoogleGenerativeAI, status: int, raised: type[Exception]
) -> None:
    gemini.script(error(status, retry_after=7))
    with pytest.raises(raised) as caught:
        await ask(model, [HumanMessage("hi")])
    assert "'retryDelay': '7s'" in str(caught.value)
    assert len(gemini.requests) == 1
    gemini.verify()


async def test_a_request_after_the_last_step_is_an_error_of_the_test(
    gemini: Gemini, model: ChatGoogleGenerativeAI
) -> None:
    with pytest.raises(GoogleAPIError, match="came after the script's last step"):
        await ask(model, [HumanMessage("hi")])
    assert gemini.unexpected == ["request 1 came after the script's last step"]


async def test_a_step_never_used_is_an_error_of_the_test(gemini: Gemini) -> None:
    gemini.script(text("never said"))
    with pytest.raises(AssertionError, match="steps never used"):
        gemini.verify()


async def test_an_answer_that_raises_is_recorded(gemini: Gemini, model: ChatGoogleGenerativeAI) -> None:
    def answer(body: Json) -> Step:
        raise LookupError(said(body))

    gemini.answer = answer
    with pytest.raises(GoogleAPIError):
        await ask(model, [HumanMessage("hi")])
    assert "LookupError('hi')" in gemini.unexpected[0]


async def test_a_stall_delays_the_first_token(gemini: Gemini, model: ChatGoogleGenerativeAI) -> None:
    gemini.script(stall(0.2, text("At last.")))
    started = time.monotonic()
    whole = await ask(model, [HumanMessage("hi")])
    assert whole.text == "At last."
    assert time.monotonic() - started > 0.19


async def test_a_stall_longer_than_the_read_timeout(gemini: Gemini) -> None:
    gemini.script(stall(5, text("Too late.")), text("Slow, but in time for httpx.", delay=0.15))
    model = connect(gemini, timeout=0.5)
    with pytest.raises(httpx.ReadTimeout):
        await ask(model, [HumanMessage("hi")])
    await gemini.settled()
    assert gemini.requests[0].closed_early

    whole = await ask(model, [HumanMessage("hi")])
    assert whole.text == "Slow, but in time for httpx."
    await model.aclose()


@pytest.mark.parametrize("after", [0, 2, 5])
async def test_a_stream_cut_in_the_middle_raises_after_what_was_said(
    gemini: Gemini, model: ChatGoogleGenerativeAI, after: int, caplog: pytest.LogCaptureFixture
) -> None:
    gemini.script(cut(text("One two three four five"), after=after))
    heard: list[str] = []
    with (
        caplog.at_level(logging.ERROR),
        pytest.raises(httpx.RemoteProtocolError),
    ):
        await hear(model, heard)

    assert heard == ["One", "two", "three", "four", "five"][:after]
    assert not caplog.records
    await gemini.settled()
    assert not gemini.requests[0].finished
    assert not gemini.requests[0].closed_early


# The caller hangs up


@pytest.mark.parametrize("step", [text("a b c d e f", delay=5), stall(5, text("late"))])
async def test_a_cancelled_consumer_is_noticed_at_once(
    gemini: Gemini, model: ChatGoogleGenerativeAI, step: Step
) -> None:
    gemini.script(step)
    consumer = asyncio.create_task(ask(model, [HumanMessage("hi")]))
    await asyncio.sleep(0.3)
    cancelled = time.monotonic()
    consumer.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await consumer
    await gemini.settled()

    [request] = gemini.requests
    assert request.closed_early
    assert not request.finished
    assert request.closed_at is not None
    assert request.closed_at - cancelled < 0.25  # 1 ms on an idle machine


def test_the_server_stops_at_once_though_a_stream_is_open() -> None:
    body = {"contents": [user()]}
    path = f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse"
    with httpx.Client() as client:
        with Gemini() as gemini:
            gemini.script(text("a b", delay=30))
            response = client.send(client.build_request("POST", gemini.url + path, json=body), stream=True)
            next(response.iter_lines())
            started = time.monotonic()
        assert time.monotonic() - started < 1


# Many at once


async def test_two_hundred_conversations_at_once_each_get_their_own_answer(
    gemini: Gemini, model: ChatGoogleGenerativeAI
) -> None:
    gemini.answer = lambda body: text(f"You said {said(body)}.", tokens=10, delay=0.02)

    async def one(number: int) -> str:
        return "".join([chunk.text async for chunk in model.astream(f"number {number}")])

    told = await asyncio.gather(*(one(number) for number in range(200)))
    await gemini.settled()

    assert told == [f"You said number {number}." for number in range(200)]
    assert sum(request.finished for request in gemini.requests) == 200
    assert {len(request.tokens) for request in gemini.requests} == {10}
    gemini.verify()


# Histories


ISSUED = {"s1": "clock", "s2": "weather", "t": None}


def user(words: str = "hi") -> Json:
    return {"role": "user", "parts": [{"text": words}]}


def spoke(words: str = "Hello.", **more: str) -> Json:
    return {"role": "model", "parts": [{"text": words, **more}]}


def called(*names: str, **first: str) -> Json:
    parts: list[Json] = [{"functionCall": {"name": name, "args": {}}} for name in names]
    return {"role": "model", "parts": [{**parts[0], **first}, *parts[1:]]}


def responded(*names: str) -> Json:
    parts = [{"functionResponse": {"name": name, "response": {"output": "x"}}} for name in names]
    return {"role": "user", "parts": parts}


GOOD: dict[str, list[Json]] = {
    "a first word": [user()],
    "a conversation": [user(), spoke(), user()],
    "a call": [user(), called("clock", thoughtSignature="s1"), responded("clock")],
    "two calls at once": [
        user(),
        called("clock", "weather", thoughtSignature="s1"),
        responded("clock", "weather"),
    ],
    "two calls in a row": [
        user(),
        called("clock", thoughtSignature="s1"),
        responded("clock"),
        called("weather", thoughtSignature="s2"),
        responded("weather"),
    ],
    "an unsigned call of an earlier turn": [user(), called("clock"), responded("clock"), spoke(), user()],
    "a signature without text": [user(), spoke("", thoughtSignature="t"), user()],
}

BAD: dict[str, tuple[list[Json], str]] = {
    "nothing": ([], "contents is empty"),
    "the model first": ([spoke(), user()], r"contents\[0\] is not the user's"),
    "the model last": ([user(), spoke()], "the last content is not the user's"),
    "the user twice": ([user(), user()], "second user content in a row"),
    "the model twice": ([user(), spoke(), spoke(), user()], "second model content in a row"),
    "an unknown role": (
        [user(), {"role": "system", "parts": [{"text": "x"}]}, user()],
        "has the role 'system'",
    ),
    "no parts": ([user(), {"role": "model", "parts": []}, user()], "has no parts"),
    "an empty text": ([user(), spoke(""), user()], r"contents\[1\].parts\[0\] is empty"),
    "an empty part": ([user(), {"role": "model", "parts": [{}]}, user()], "is empty"),
    "a dangling call": (
        [user(), called("clock", thoughtSignature="s1"), user()],
        r"responds to \[\], where the calls before it were \['clock'\]",
    ),
    "one response of two": (
        [user(), called("clock", "weather", thoughtSignature="s1"), responded("clock")],
        "responds to",
    ),
    "responses in another order": (
        [user(), called("clock", "weather", thoughtSignature="s1"), responded("weather", "clock")],
        "responds to",
    ),
    "a response to nothing": ([user(), spoke(), responded("clock")], "responds to"),
    "a response first": ([responded("clock")], "responds to"),
    "a response and a word": (
        [
            user(),
            called("clock", thoughtSignature="s1"),
            {"role": "user", "parts": responded("clock")["parts"] + user()["parts"]},
        ],
        "mixes 1 other part",
    ),
    "a call by the user": ([{**called("clock", thoughtSignature="s1"), "role": "user"}], "in a user content"),
    "an unsigned call": ([user(), called("clock"), responded("clock")], "without a signature"),
    "an unsigned second call": (
        [
            user(),
            called("clock", thoughtSignature="s1"),
            responded("clock"),
            called("weather"),
            responded("weather"),
        ],
        r"contents\[3\] calls 'weather' in the current turn without a signature",
    ),
    "a made-up signature": (
        [user(), called("clock", thoughtSignature="?"), responded("clock")],
        "never issued",
    ),
    "a made-up signature long ago": ([user(), spoke("x", thoughtSignature="?"), user()], "never issued"),
    "another call's signature": (
        [user(), called("clock", thoughtSignature="s2"), responded("clock")],
        "issued for 'weather', not 'clock'",
    ),
    "two things in one part": (
        [user(), {"role": "model", "parts": [{"text": "x", "functionCall": {"name": "clock"}}]}, responded("clock")],
        "more than one thing",
    ),
    "a call without a name": ([user(), called(""), responded("")], "a function named ''"),
    "an illegal name": (
        [user(), called("look up!"), responded("look up!")],
        "a function named 'look up!'",
    ),
    "the placeholder": (
        [user(), called("clock", thoughtSignature=PLACEHOLDER), responded("clock")],
        "lost its signature",
    ),
}


@pytest.mark.parametrize("contents", GOOD.values(), ids=GOOD.keys())
def test_a_history_gemini_takes(contents: list[Json]) -> None:
    check({"contents": contents}, ISSUED)


@pytest.mark.parametrize(("contents", "complaint"), BAD.values(), ids=BAD.keys())
def test_a_history_gemini_refuses(contents: list[Json], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check({"contents": contents}, ISSUED)


def test_a_history_that_names_a_function_which_is_not_declared_is_refused() -> None:
    contents = [user(), called("clock", thoughtSignature="s1"), responded("clock"), spoke(), user()]
    tools = [{"functionDeclarations": [{"name": "weather"}]}]
    check({"contents": contents, "tools": [*tools, {"functionDeclarations": [{"name": "clock"}]}]}, ISSUED)
    with pytest.raises(AssertionError, match="names 'clock', which is not declared"):
        check({"contents": contents, "tools": tools}, ISSUED)
