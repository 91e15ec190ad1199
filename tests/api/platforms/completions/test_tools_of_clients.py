"""What LiveKit's and Pipecat's LLM services send after they have run a tool of theirs: the same conversation with the
tool's result at its end. The messages are as livekit-agents 1.8.9 and pipecat-ai 1.14.0 sent them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.support.backend import backend
from tests.support.gemini import Gemini, calls, text
from tests.support.platforms import COMPLETIONS_KEY, platform_settings, shown

TOOLS: Any = [{"type": "function", "function": {"name": "end_call", "parameters": {"type": "object"}}}]
BYE = {"role": "user", "content": "bye"}


def called(id_: str) -> list[dict[str, Any]]:
    return [{"id": id_, "type": "function", "function": {"name": "end_call", "arguments": '{"reason": "done"}'}}]


def livekit(id_: str) -> list[dict[str, Any]]:
    return [
        {"role": "assistant", "content": "Goodbye.", "tool_calls": called(id_)},
        {"role": "tool", "tool_call_id": id_, "content": "ended"},
    ]


def pipecat(id_: str) -> list[dict[str, Any]]:
    return [
        {"role": "assistant", "content": "Goodbye."},
        {"role": "assistant", "tool_calls": called(id_)},
        {"role": "tool", "content": '{"status": "done"}', "tool_call_id": id_},
    ]


@pytest.fixture
async def openai(gemini: Gemini, tmp_path: Path) -> AsyncIterator[AsyncOpenAI]:
    async with (
        backend(**platform_settings(gemini, tmp_path, action_hold_seconds=0.1)) as server,
        AsyncOpenAI(api_key=COMPLETIONS_KEY, base_url=f"{server.url}/v1", max_retries=0) as client,
    ):
        yield client


async def ask(client: AsyncOpenAI, messages: list[Any], *, stream: bool) -> tuple[str, list[Any], str]:
    """The words, the tool calls, and why the answer ends."""
    made: Any = await client.chat.completions.create(
        model="x", user="c1", messages=messages, tools=TOOLS, stream=stream
    )
    if not stream:
        (choice,) = made.choices
        return choice.message.content, choice.message.tool_calls or [], choice.finish_reason
    words, finish = "", ""
    tools: list[Any] = []
    async for chunk in made:
        words += chunk.choices[0].delta.content or ""
        tools += chunk.choices[0].delta.tool_calls or []
        finish = chunk.choices[0].finish_reason or finish
    return words, tools, finish


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("client", [livekit, pipecat])
async def test_a_tool_that_the_client_has_run_is_not_asked_for_again(
    openai: AsyncOpenAI, gemini: Gemini, client: Any, stream: bool
) -> None:
    """There is nothing more to say. What comes after it is a turn as ever."""
    gemini.script(calls(("end_call", {"reason": "done"}), text="Goodbye."), text("You are still there?"))
    words, (tool,), finish = await ask(openai, [BYE], stream=stream)
    assert (words, tool.function.name, finish) == ("Goodbye.", "end_call", "tool_calls")
    said = [BYE, *client(tool.id)]
    assert await ask(openai, said, stream=stream) == ("", [], "stop")
    more = [*said, {"role": "user", "content": "Wait"}]
    assert await ask(openai, more, stream=stream) == ("You are still there?", [], "stop")


@pytest.mark.parametrize("client", [livekit, pipecat])
async def test_what_was_heard_is_found_before_the_tool_too(openai: AsyncOpenAI, gemini: Gemini, client: Any) -> None:
    gemini.script(calls(("end_call", {"reason": "done"})), text("Goodbye. It was nice to talk."), text("Yes?"))
    await ask(openai, [BYE], stream=True)
    await ask(openai, [BYE, *client("call_1"), {"role": "user", "content": "Wait"}], stream=True)
    assert "heard only the words above" in shown(gemini.requests[-1].body)[-1][1]
    assert ("model", "Goodbye.") in shown(gemini.requests[-1].body)
