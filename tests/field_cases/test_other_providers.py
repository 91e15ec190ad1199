"""Other providers' real clients, and a conversation that goes from one provider to another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from agent.llm.verdict import ANTHROPIC, OPENAI, Action
from tests.support.anthropic import Anthropic, anthropic, fails, uses, writes
from tests.support.conversation import Tools, results_in
from tests.support.gemini import Gemini, calls, error, text, thought
from tests.support.openai import OpenAI, makes, refuses, says

ENDING = "I have to stop there."
APOLOGY = "Sorry, something went wrong on my side. Please say that again."
NAME = "openai:gpt-test"


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # OpenAI's client expects a text
@pytest.mark.parametrize("blocks", [False, True], ids=["texts", "lists of blocks"])
async def test_a_whole_turn_with_a_tool_call(gpt: OpenAI, start: Any, deeds: Tools, blocks: bool) -> None:
    """Calls in pieces that take turns, words as texts or in blocks: run once each, spoken, remembered."""
    gpt.script(
        makes(("order", {"thing": "tea and cake"}), ("fetch", {"city": "Rome"})),
        says("It is ", "ordered.", blocks=blocks),
        says("Yes."),
    )
    caller = (await start(model=NAME, tools_dir=deeds.folder)).caller()
    reply = await caller.say("Order tea")
    assert reply.text == "Checking Rome. It is ordered."
    assert reply.ended_once
    assert deeds.done(caller.conversation)["order done"] == 1
    assert (await caller.say("Sure?")).text == "Yes."
    kinds = [(m["role"], m.get("tool_call_id")) for m in gpt.requests[-1]["messages"]]
    assert kinds == [
        ("system", None), ("user", None), ("assistant", None), ("tool", "call_0"), ("tool", "call_1"),
        ("assistant", None), ("user", None),
    ]  # fmt: skip
    assert "Ordered tea and cake." in gpt.requests[-1]["messages"][3]["content"]


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_a_call_with_a_bad_finish_is_not_run(gpt: OpenAI, start: Any, deeds: Tools, reason: str) -> None:
    gpt.script(makes(("order", {"thing": "tea"}), finish=reason))
    if OPENAI[reason] is not Action.REFUSE:
        gpt.script(says("Not ordered."))
    caller = (await start(model=NAME, tools_dir=deeds.folder)).caller()
    reply = await caller.say("Order tea")
    assert reply.text == (APOLOGY if OPENAI[reason] is Action.REFUSE else "Not ordered.")
    assert not deeds.done(caller.conversation)


async def test_an_answer_cut_for_its_length_goes_on_and_one_without_a_reason_is_cut_off(
    gpt: OpenAI, start: Any
) -> None:
    gpt.script(says("The story ", finish="length"), says("goes on."), says("Half a", finish=None))
    caller = (await start(model=NAME)).caller()
    assert (await caller.say("A story")).text == "The story goes on."
    assert (await caller.say("Another")).text == f"Half a {APOLOGY}"


async def test_its_client_does_not_ask_again_by_itself(gpt: OpenAI, start: Any) -> None:
    """Its waiting would be silence; the agent asks again at once."""
    gpt.script(refuses(503), says("Here I am."))
    reply = await (await start(model=NAME)).caller().say("Hello?")
    assert reply.text == "Here I am."
    assert len(gpt.requests) == 2


async def test_thinking_and_options_are_its_own(gpt: OpenAI, start: Any) -> None:
    gpt.script(says("Yes."))
    settings = {"model_thinking": "low", "model_options": '{"max_completion_tokens": 50}'}
    await (await start(model=NAME, **settings)).caller().say("Hello?")
    sent = gpt.requests[0]
    assert (sent["reasoning_effort"], sent["max_completion_tokens"]) == ("low", 50)


@pytest.mark.parametrize("fast", [True, False], ids=["fast path", "library"])
async def test_m17_each_provider_is_shown_what_it_takes(
    gemini: Gemini, gpt: OpenAI, start: Any, deeds: Tools, fast: bool
) -> None:
    """From Gemini to the fallback and back in one conversation: text, calls and results, and nothing that only the
    other provider knows."""
    gemini.script(thought("Hm.", calls(("order", {"thing": "tea"}))), text("Ordered.", signature=True))
    gpt.script(makes(("fetch", {"city": "Rome"})), says("Sunny."))
    gemini.allow_unsigned("fetch")
    settings = {"model_fallback": NAME, "tools_dir": deeds.folder, "gemini_fast": fast}
    caller = (await start(**settings)).caller()
    assert (await caller.say("Order tea")).text == "Ordered."
    gemini.script(error(503), error(503), error(503), error(503))
    assert (await caller.say("And the weather?")).text == "Checking Rome. Sunny."
    gemini.script(text("Bye."))
    assert (await caller.say("Thanks")).text == "Bye."

    for request in gpt.requests:
        for message in request["messages"]:
            assert message.keys() <= {"role", "content", "tool_calls", "tool_call_id"}
            assert message["content"] is None or isinstance(message["content"], str)
    assert [m["content"] for m in gpt.requests[0]["messages"] if m["role"] == "assistant"] == [None, "Ordered."]
    assert results_in(gemini.requests[-1].body) == [("order", "Ordered tea."), ("fetch", "Sunny in Rome.")]


# Anthropic

CLAUDE = "anthropic:claude-test"


@pytest.fixture
def claude(monkeypatch: pytest.MonkeyPatch) -> Iterator[Anthropic]:
    with anthropic() as server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        yield server


async def test_m17_anthropic_is_shown_what_it_takes_too(
    gemini: Gemini, claude: Anthropic, start: Any, deeds: Tools
) -> None:
    """Thoughts, signatures and calls of Gemini's in the conversation; then back again."""
    gemini.script(thought("Hm.", calls(("order", {"thing": "tea"}))), text("Ordered.", signature=True))
    claude.script(uses("fetch", {"city": "Rome"}, text="One moment."), writes("Sunny."))
    gemini.allow_unsigned("fetch")
    caller = (await start(model_fallback=CLAUDE, tools_dir=deeds.folder)).caller()
    assert (await caller.say("Order tea")).text == "Ordered."
    gemini.script(*[error(503)] * 4)
    assert (await caller.say("And the weather?")).text == "One moment. Sunny."
    gemini.script(text("Bye."))
    assert (await caller.say("Thanks")).text == "Bye."

    takes = {
        "text": {"type", "text"},
        "tool_use": {"type", "id", "name", "input"},
        "tool_result": {"type", "tool_use_id", "content", "is_error"},
    }
    for request in claude.requests:
        roles = [message["role"] for message in request["messages"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
        contents = [message["content"] for message in request["messages"]]
        blocks = [block for content in contents if isinstance(content, list) for block in content]
        assert all(block.keys() <= takes[block["type"]] for block in blocks)
        ids = [block.get("id") or block.get("tool_use_id") for block in blocks if block["type"] != "text"]
        assert all(re.fullmatch(r"[a-zA-Z0-9_-]+", id_) for id_ in ids)
    assert "Ordered tea." in str(claude.requests[0]["messages"])
    assert results_in(gemini.requests[-1].body) == [("order", "Ordered tea."), ("fetch", "Sunny in Rome.")]


async def test_a_whole_turn_with_anthropics_client(claude: Anthropic, start: Any, deeds: Tools) -> None:
    """A call in pieces: run once, its result shown, the next turn remembers."""
    claude.script(uses("order", {"thing": "tea"}, text="One moment."), writes("It is ", "ordered."), writes("Yes."))
    caller = (await start(model=CLAUDE, tools_dir=deeds.folder)).caller()
    reply = await caller.say("Order tea")
    assert reply.text == "One moment. It is ordered."
    assert reply.ended_once
    assert deeds.done(caller.conversation)["order done"] == 1
    assert (await caller.say("Sure?")).text == "Yes."
    shown = claude.requests[-1]["messages"]
    assert [message["role"] for message in shown] == ["user", "assistant", "user", "assistant", "user"]
    assert "Ordered tea." in str(shown[2])


@pytest.mark.parametrize("reason", [*ANTHROPIC, "a_new_reason"])
async def test_each_of_anthropics_reasons_leads_where_the_table_says(
    claude: Anthropic, start: Any, reason: str
) -> None:
    """Through the real client: words with this reason at their end."""
    action = ANTHROPIC.get(reason, Action.ACCEPT)
    said = {
        Action.ACCEPT: "The story begins.",
        Action.GO_ON: "The story begins. And it ends.",
        Action.END: f"The story begins. {ENDING}",
        Action.REFUSE: f"The story begins. {ENDING}",
    }
    claude.script(writes("The story ", "begins.", stop=reason))
    if action is Action.GO_ON:
        claude.script(writes("And it ends."))
    reply = await (await start(model=CLAUDE)).caller().say("A story")
    assert reply.text == said[action]
    assert reply.ended_once


@pytest.mark.parametrize("reason", ["max_tokens", "pause_turn", "model_context_window_exceeded", "refusal"])
async def test_a_call_with_one_of_anthropics_bad_reasons_is_not_run(
    claude: Anthropic, start: Any, deeds: Tools, reason: str
) -> None:
    claude.script(uses("order", {"thing": "tea"}, stop=reason))
    refused = ANTHROPIC[reason] is Action.REFUSE
    if not refused:
        claude.script(writes("Not ordered."))
    caller = (await start(model=CLAUDE, tools_dir=deeds.folder)).caller()
    assert (await caller.say("Order tea")).text == (APOLOGY if refused else "Not ordered.")
    assert not deeds.done(caller.conversation)


async def test_a_stream_of_anthropics_that_is_cut_off_and_an_error_are_not_an_answer(
    claude: Anthropic, start: Any, deeds: Tools
) -> None:
    claude.script(writes("Half a", stop=None), uses("order", {"thing": "tea"}, stop=None), writes("Not ordered."))
    claude.script(fails(529), writes("Here I am."))
    caller = (await start(model=CLAUDE, tools_dir=deeds.folder)).caller()
    assert (await caller.say("A story")).text == f"Half a {APOLOGY}"
    assert (await caller.say("Order tea")).text == "Not ordered."
    assert not deeds.done(caller.conversation)
    assert (await caller.say("Hello?")).text == "Here I am."
