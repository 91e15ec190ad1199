"""What models really answer: cut off, blocked, malformed, as text what should be a call; and what the caller hears."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import httpx
import pytest
from google.genai.types import BlockedReason, FinishReason
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from agent.llm.attempts import is_down
from agent.llm.gemini.events import UniformEvents
from agent.llm.verdict import ANTHROPIC, BLOCKED, GEMINI, OPENAI, Action
from agent.llm.written_calls import WrittenCalls
from api.settings import NotConfigured, Settings
from api.wiring import load_models
from tests.support.backend import Backend
from tests.support.conversation import Tools, answers_in, results_in
from tests.support.gemini import Gemini, Step, blocked, calls, cut, error, raw, said, text, thought

APOLOGY = "Sorry, something went wrong on my side. Please say that again."
ENDING = "I have to stop there."
CLOCK = calls(("order", {"thing": "tea"}))
BOTH_PATHS = pytest.mark.parametrize("fast", [True, False], ids=["fast path", "library"])


def ends(reason: str, words: str = "The story begins and then it") -> Step:
    return text(words, finish=reason)


async def marks(backend: Backend, conversation: str) -> list[str]:
    """The marks of the assistant's messages in the memory."""
    assert backend.agent
    state = await backend.agent._conversations.graph.aget_state({"configurable": {"thread_id": conversation}})
    answers = [m for m in state.values["messages"] if isinstance(m, AIMessage)]
    return [
        str(m.additional_kwargs[mark])
        for m in answers
        for mark in ("interrupted", "cut")
        if mark in m.additional_kwargs
    ]


# M3

USELESS = (
    "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE", "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE", "NO_IMAGE",
)  # fmt: skip


@BOTH_PATHS
@pytest.mark.parametrize("reason", USELESS)
@pytest.mark.parametrize("again", ["", "One moment. "], ids=["without the words", "with the words again"])
async def test_m3_an_answer_that_is_no_use_is_asked_for_again_and_nothing_is_said_twice(
    gemini: Gemini, start: Any, deeds: Tools, reason: str, again: str, fast: bool
) -> None:
    """After words and a malformed call the model is asked again; the words are heard once, and the result comes."""
    gemini.script(
        ends(reason, "One moment. "), calls(("order", {"thing": "tea"}), text=again), text("Your tea is ordered.")
    )
    caller = (await start(tools_dir=deeds.folder, gemini_fast=fast)).caller()
    reply = await caller.say("Order tea")
    assert reply.text == "One moment. Your tea is ordered."
    assert reply.ended_once
    assert deeds.done(caller.conversation)["order done"] == 1
    gemini.script(text("Yes?"))
    await caller.say("Hello?")
    answers = [content for content in gemini.requests[-1].body["contents"] if content["role"] == "model"]
    texts = [part["text"].strip() for content in answers for part in content["parts"] if "text" in part]
    assert texts == ["One moment.", "Your tea is ordered."]


@BOTH_PATHS
@pytest.mark.parametrize("reason", [reason.name for reason in FinishReason if reason is not FinishReason.STOP])
async def test_m3_a_call_that_comes_with_a_bad_finish_is_not_run(
    gemini: Gemini, start: Any, deeds: Tools, reason: str, fast: bool
) -> None:
    """Whatever else becomes of the answer, its calls do nothing."""
    gemini.script(replace(CLOCK, finish=reason))
    gemini.answer = lambda _: text("Not ordered.")
    caller = (await start(tools_dir=deeds.folder, gemini_fast=fast)).caller()
    reply = await caller.say("Order tea")
    assert reply.text == (APOLOGY if GEMINI[reason] is Action.REFUSE else "Not ordered.")
    assert not deeds.done(caller.conversation)
    gemini.answer = lambda _: text("Yes?")
    await caller.say("Hello?")
    assert results_in(gemini.requests[-1].body) == []


# M4

BROKEN_OFF = {
    "MAX_TOKENS": "",  # it goes on
    "SAFETY": ENDING,
    "RECITATION": ENDING,
    "OTHER": ENDING,
    "PROHIBITED_CONTENT": ENDING,
    "": APOLOGY,  # the connection was closed
}


@BOTH_PATHS
@pytest.mark.parametrize(("reason", "end"), [(r, end) for r, end in BROKEN_OFF.items() if end])
async def test_m4_half_a_sentence_is_not_the_whole_answer(
    gemini: Gemini, start: Any, reason: str, end: str, fast: bool
) -> None:
    """An answer that is cut off ends in words, and the memory says that it was cut, and why. The model is shown its own
    words alone as its own."""
    gemini.script(ends(reason), text("Yes?"))
    backend = await start(gemini_fast=fast)
    caller = backend.caller()
    reply = await caller.say("Tell me a story")
    assert reply.text == f"The story begins and then it {end}"
    assert reply.ended_once
    assert await marks(backend, caller.conversation) == [reason or "no finish reason"]
    await caller.say("And?")
    assert answers_in(gemini.requests[-1].body) == ["The story begins and then it"]
    note = f'⟦system: Your answer broke off there. The system said to the caller: "{end}"⟧'
    assert said(gemini.requests[-1].body) == f"{note}\nAnd?"


@BOTH_PATHS
@pytest.mark.parametrize("rest", ["goes on.", "The story begins and then it goes on."])
async def test_m4_an_answer_cut_for_its_length_goes_on_once(gemini: Gemini, start: Any, rest: str, fast: bool) -> None:
    """MAX_TOKENS: the model is shown its words and goes on; if it says them again, they are not heard again."""
    gemini.script(ends("MAX_TOKENS"), text(rest), text("Yes?"))
    backend = await start(gemini_fast=fast)
    caller = backend.caller()
    reply = await caller.say("Tell me a story")
    assert reply.text == "The story begins and then it goes on."
    assert [part["text"] for part in gemini.requests[1].body["contents"][-2]["parts"]] == [
        "The story begins and then it"
    ]
    assert await marks(backend, caller.conversation) == []
    await caller.say("And?")
    assert answers_in(gemini.requests[-1].body) == ["The story begins and then it goes on."]


async def test_m4_the_second_cut_for_length_ends_in_words(gemini: Gemini, start: Any) -> None:
    gemini.script(ends("MAX_TOKENS"), ends("MAX_TOKENS", "goes on and"))
    backend = await start(model_fallback="google_genai:gemini-other")
    caller = backend.caller()
    reply = await caller.say("Tell me a story")
    assert reply.text == f"The story begins and then it goes on and {ENDING}"
    assert await marks(backend, caller.conversation) == ["MAX_TOKENS"]


@BOTH_PATHS
async def test_m4_a_prompt_that_is_blocked_is_not_asked_again(gemini: Gemini, start: Any, fast: bool) -> None:
    """It would be blocked again: the fallback is asked at once, and without one the apology comes."""
    gemini.script(blocked("SAFETY"))
    assert (await (await start(gemini_fast=fast)).caller().say("Hello?")).text == APOLOGY
    gemini.script(blocked("PROHIBITED_CONTENT"), text("Here I am."))
    other = await start(gemini_fast=fast, model_fallback="google_genai:gemini-other")
    assert (await other.caller().say("Hello?")).text == "Here I am."


# M10

WRITTEN = [
    "```tool_code\nprint(default_api.order(thing='tea'))\n```",
    "```python\nprint(default_api.order(thing='tea'))\n```",
    "print(default_api.order(thing='tea'))",
    "order(thing='tea')",
    '```json\n{"name": "order", "arguments": {"thing": "tea"}}\n```',
    '<tool_call>{"name": "order", "arguments": {"thing": "tea"}}</tool_call>',
    "call:default_api:order{thing:tea}",
]


@BOTH_PATHS
@pytest.mark.parametrize("tokens", [1, 7, 1000], ids=["at once", "in pieces", "letter by letter"])
@pytest.mark.parametrize("before", ["", "One moment. "])
@pytest.mark.parametrize("written", WRITTEN)
async def test_m10_a_call_written_as_text_is_never_spoken_and_asked_for_again(
    gemini: Gemini, start: Any, deeds: Tools, written: str, before: str, tokens: int, fast: bool
) -> None:
    """The caller hears no code, however it streams, and the call is made after all."""
    gemini.script(text(before + written, tokens=tokens), CLOCK, text("Your tea is ordered."))
    caller = (await start(tools_dir=deeds.folder, gemini_fast=fast)).caller()
    reply = await caller.say("Order tea")
    assert reply.text == f"{before}Your tea is ordered."
    assert deeds.done(caller.conversation)["order done"] == 1


@pytest.mark.parametrize(
    "words",
    [
        "Print it. It has functions. Then call: 555.",
        "de la casa (x)",
        "order something, or clock out",
        "p. 5 {x} [yes]",
    ],
)
def test_m10_other_text_is_left_as_it_is(words: str) -> None:
    for size in (1, 2, 5, 100):
        reader = WrittenCalls(["order", "clock"])
        pieces = [words[at : at + size] for at in range(0, len(words), size)]
        assert "".join(map(reader.feed, pieces)) + reader.end() == words
        assert not reader.found


# The table


def test_every_reason_that_a_provider_gives_has_its_place() -> None:
    """A new version of Google's client with a new reason fails here."""
    assert {reason.name for reason in FinishReason} == set(GEMINI)
    assert {reason.name for reason in BlockedReason} == set(BLOCKED)
    assert {"stop", "length", "tool_calls", "content_filter", "function_call"} <= set(OPENAI)
    good = {"STOP", "stop", "tool_calls", "function_call", "completed", "end_turn", "tool_use", "stop_sequence"}
    tables = (GEMINI, BLOCKED, OPENAI, ANTHROPIC)
    assert {r for table in tables for r, action in table.items() if action is Action.ACCEPT} == good
    assert {"end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal"} <= set(ANTHROPIC)


@BOTH_PATHS
@pytest.mark.parametrize("reason", GEMINI)
async def test_both_ways_to_read_gemini_give_the_same_verdict(
    gemini: Gemini, start: Any, reason: str, fast: bool
) -> None:
    """What the caller hears follows the table for every reason, however the stream is read."""
    gemini.script(
        ends(reason, "Half"), *([text("Whole.")] if GEMINI[reason] in (Action.GO_ON, Action.ASK_AGAIN) else [])
    )
    reply = await (await start(gemini_fast=fast)).caller().say("Hello?")
    expected = {
        Action.ACCEPT: "Half",
        Action.GO_ON: "Half Whole.",
        Action.ASK_AGAIN: "Half Whole.",
        Action.END: f"Half {ENDING}",
        Action.REFUSE: f"Half {ENDING}",
    }
    assert reply.text == expected[GEMINI[reason]]


# M2


async def test_m2_what_one_caller_brings_about_opens_no_circuit(gemini: Gemini, start: Any) -> None:
    """Blocked prompts, refused requests and answers without a word say nothing of the service: others are answered."""
    backend = await start()
    for trouble in [blocked("SAFETY"), blocked("OTHER"), text("👍"), text(""), error(400), text("", finish="SAFETY")]:
        gemini.answer = lambda _, trouble=trouble: trouble
        caller = backend.caller()
        for _ in range(3):
            assert (await caller.say("Hello?")).text == APOLOGY
    gemini.answer = lambda _: text("Here I am.")
    assert (await backend.caller().say("Hello?")).text == "Here I am."


@pytest.mark.parametrize("trouble", [error(500), error(503), error(429), cut(text("x"), after=0)], ids=lambda _: "")
async def test_m2_what_says_that_the_service_is_down_opens_the_circuit(
    gemini: Gemini, start: Any, trouble: Step
) -> None:
    """After five failures in a row the model is left alone for a while."""
    gemini.answer = lambda _: trouble
    backend = await start()
    for _ in range(5):
        await backend.caller().say("Hello?")
    assert len(gemini.requests) == 5


@pytest.mark.parametrize(
    ("error", "down"),
    [
        (httpx.ConnectError("refused"), True),
        (httpx.ReadTimeout("late"), True),
        (httpx.RemoteProtocolError("broken off"), True),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (ValueError("what came cannot be read"), False),
        (TypeError("a wrong argument"), False),
    ],
)
def test_m2_errors_without_a_status_count_if_they_are_the_networks(error: Exception, down: bool) -> None:
    assert is_down(error) is down
    wrapped = RuntimeError("a client's own error")
    wrapped.__cause__ = error
    assert is_down(wrapped) is down


# M5


def event(words: str, **more: str) -> str:
    return json.dumps({"candidates": [{"content": {"parts": [{"text": words}], "role": "model"}, **more}]})


ONE, TWO = event("One "), event("two.", finishReason="STOP")
STREAMS = {
    "comments": f": ping\n\ndata: {ONE}\n\n: ping\n\n:\ndata: {TWO}\n\n: bye\n\n",
    "no space": f"data:{ONE}\n\ndata:{TWO}\n\n",
    "empty events": f"\n\ndata: {ONE}\n\ndata:\n\ndata\n\ndata: \n\ndata: {TWO}\n\n\n\n",
    "data in several lines": f"data: {ONE[:1]}\ndata: {ONE[1:]}\n\ndata: {TWO[:-1]}\ndata:{TWO[-1:]}\n\n",
    "other fields": f"event: message\nid: 1\nretry: 5\ndata: {ONE}\n\nid\nevent: x\ndata: {TWO}\n\n",
    "CR": f"data: {ONE}\r\rdata: {TWO}\r\r",
    "CRLF": f"data: {ONE}\r\n\r\n: ping\r\n\r\ndata: {TWO}\r\n\r\n",
    "mixed ends of lines": f"data: {ONE}\r\n\ndata: {TWO}\n\r",
    "a byte order mark": f"\ufeffdata: {ONE}\n\ndata: {TWO}\n\n",
    "an end of another API": f"data: {ONE}\n\ndata: {TWO}\n\ndata: [DONE]\n\n",
    "no last line end": f"data: {ONE}\n\ndata: {TWO}",
}


@BOTH_PATHS
@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("kind", STREAMS)
async def test_m5_a_stream_is_read_as_the_standard_says(
    gemini: Gemini, start: Any, kind: str, size: int, fast: bool
) -> None:
    """Fields, comments, ends of lines: the answer is the same, and the model is asked once."""
    body = STREAMS[kind].encode()
    gemini.script(raw(*(body[at : at + size] for at in range(0, len(body), size))))
    reply = await (await start(gemini_fast=fast)).caller().say("Count")
    assert reply.text == "One two."
    assert reply.ended_once


@settings(max_examples=200)
@given(st.sampled_from(sorted(STREAMS)), st.lists(st.integers(0, 400), max_size=8))
def test_m5_it_does_not_matter_how_the_bytes_are_cut(kind: str, cuts: list[int]) -> None:
    body = STREAMS[kind].encode()
    reader, edges = UniformEvents(), [0, *sorted(cuts), len(body)]
    came = b"".join(reader.feed(body[start:end]) for start, end in pairwise(edges)) + reader.end()
    assert came == b"data: %b\r\n\r\ndata: %b\r\n\r\n" % (_spaced(ONE, kind), _spaced(TWO, kind))


def _spaced(text: str, kind: str) -> bytes:
    """A line end within data is white space."""
    if kind != "data in several lines":
        return text.encode()
    return f"{text[:1]} {text[1:]}".encode() if text is ONE else f"{text[:-1]} {text[-1:]}".encode()


# M13


def thinks(times: int, every: float, then: str) -> Step:
    """Thoughts, `every` so many seconds, then words."""
    answer = text(then, tokens=1)
    for number in range(times):
        answer = thought(f"Thought {number}.", answer, delay=every)
    return answer


@BOTH_PATHS
async def test_m13_a_model_that_thinks_is_waited_for_and_the_caller_hears_a_line_once(
    gemini: Gemini, start: Any, fast: bool
) -> None:
    """Thoughts for longer than the first token may take: the attempt goes on, a line is heard, and it is not the
    model's words in the memory."""
    gemini.script(thinks(8, 0.3, "Forty-two."), thinks(1, 0.1, "Yes."))
    caller = (await start(first_token_seconds=1, gemini_fast=fast)).caller()
    reply = await caller.say("The answer?")
    assert reply.text == "One moment. Forty-two."
    assert 1.4 < reply.events[0][0] < 2.2
    assert (await caller.say("Sure?")).text == "Yes."
    assert answers_in(gemini.requests[-1].body) == [
        "Thought 7.Thought 6.Thought 5.Thought 4.Thought 3.Thought 2.Thought 1.Thought 0.Forty-two."
    ]


async def test_m13_thoughts_that_stop_are_not_waited_for(gemini: Gemini, start: Any) -> None:
    """The caller has waited for as long as an answer may take to begin."""
    gemini.script(thought("Hm.", text("Too late."), delay=30))
    reply = await (await start(first_token_seconds=1, thinking_message="")).caller().say("Hello?")
    assert reply.text == APOLOGY
    assert reply.events[0][0] < 2


@BOTH_PATHS
@pytest.mark.parametrize(
    ("model", "asked", "sent"),
    [
        ("gemini-3.5-flash-lite", None, {"thinking_level": "MINIMAL"}),
        ("gemini-3.5-flash-lite", "off", {"thinking_level": "MINIMAL"}),
        ("gemini-3.5-flash-lite", "low", {"thinking_level": "LOW", "include_thoughts": True}),
        ("gemini-3.1-pro-preview", None, {"thinking_level": "LOW", "include_thoughts": True}),
        ("gemini-2.5-flash", None, {"thinking_budget": 0}),
        ("gemini-2.5-flash", "512", {"thinking_budget": 512, "include_thoughts": True}),
        ("gemini-2.5-pro", None, {"thinking_budget": 128, "include_thoughts": True}),
        ("gemini-other", None, None),
        ("gemini-other", "high", {"thinking_level": "HIGH", "include_thoughts": True}),
    ],
)
async def test_m13_thinking_is_the_least_unless_it_is_set(
    gemini: Gemini, start: Any, model: str, asked: str | None, sent: dict[str, Any] | None, fast: bool
) -> None:
    gemini.script(text("Yes."))
    backend = await start(model=f"google_genai:{model}", model_thinking=asked, gemini_fast=fast)
    assert (await backend.caller().say("Hello?")).text == "Yes."
    assert gemini.requests[0].body.get("generationConfig", {}).get("thinkingConfig") == sent


@BOTH_PATHS
async def test_m13_options_are_the_models_and_temperature_is_left_alone(gemini: Gemini, start: Any, fast: bool) -> None:
    gemini.answer = lambda _: text("Yes.")
    await (await start(gemini_fast=fast)).caller().say("Hello?")
    assert "temperature" not in gemini.requests[0].body["generationConfig"]
    backend = await start(gemini_fast=fast, model_options='{"max_output_tokens": 50}')
    await backend.caller().say("Hello?")
    assert gemini.requests[1].body["generationConfig"]["maxOutputTokens"] == 50


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        (
            "model_thinking",
            "deep",
            "MODEL_THINKING=deep is not known to gemini-3.5-flash-lite, which takes off, minimal, low, medium, high.",
        ),
        ("model_options", '{"max_tokns": 5}', "MODEL_OPTIONS: Gemini has no max_tokns, but max_tokens."),
        (
            "model_options",
            '{"temperature": 9}',
            "MODEL_OPTIONS: Value error, temperature must be in the range [0.0, 2.0].",
        ),
        ("model_options", '{"model": "x"}', "MODEL_OPTIONS cannot set model: there are settings of their own."),
    ],
)
def test_m13_a_bad_value_is_one_sentence(setting: str, value: str, sentence: str) -> None:
    given: dict[str, Any] = {"_env_file": None, "google_api_key": "x", setting: value}
    with pytest.raises(NotConfigured) as error:
        load_models(Settings(**given))
    assert error.value.problems == (sentence,)


@pytest.mark.parametrize("value", ["5", "[1]", "{", "yes"])
def test_m13_options_that_are_no_object_are_one_sentence(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_OPTIONS", value)
    with pytest.raises(NotConfigured) as error:
        Settings.load()
    assert error.value.problems == ('MODEL_OPTIONS: It must be a JSON object, such as {"max_output_tokens": 500}.',)
