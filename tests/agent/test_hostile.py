"""Tools that misbehave and models that are odd: the call goes on, and nothing is run that was not asked for."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk

from agent import voice_tool
from agent.replay import run_file as runs
from agent.replay.stand_ins import ScriptedModel
from api.testing import call, conversation, scripted_model
from tests.support.backend import Backend
from tests.support.gemini import Gemini, calls, text

TOOLS = '''
import asyncio, sys, time
from agent import voice_tool, say, show

@voice_tool
async def leave() -> str:
    """Ends the process, it thinks."""
    sys.exit(3)

@voice_tool
def leave_in_a_thread() -> str:
    """Ends the process, it thinks."""
    raise KeyboardInterrupt

@voice_tool
async def cancel_itself() -> str:
    """Raises what only the loop should raise."""
    raise asyncio.CancelledError

class Unspeakable:
    def __str__(self) -> str:
        raise ValueError("private")

@voice_tool
async def show_strange_things() -> str:
    """Shows what JSON has no form for."""
    cycle = {"now": 1}
    cycle["self"] = cycle
    show({(1, 2): 3, "cycle": cycle, "nan": float("nan"), "text": "\\ud800"})
    cycle["now"] = 2
    say("\\ud800 Hello.")
    return "\\ud800"

@voice_tool
async def show_the_unspeakable() -> str:
    """Shows what cannot be shown."""
    show(Unspeakable())
    return ""

@voice_tool
async def show_too_much() -> str:
    """Shows a megabyte."""
    show("x" * 1_000_000)
    return ""

@voice_tool
async def talk_too_much() -> str:
    """Says very much."""
    for number in range(5000):
        say(f"Line {number}.")
    return "Done."

@voice_tool
async def nothing() -> None:
    """Returns nothing."""

@voice_tool(timeout=0.3)
def stuck(number: int) -> str:
    """Blocks its thread."""
    time.sleep(1.5)
    return "late"

@voice_tool(on_barge_in="cancel")
async def quick() -> str:
    """Is quick."""
    return "Quick."
'''


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "hostile.py").write_text(TOOLS)
    return folder


@pytest.mark.parametrize(
    "name", ["leave", "leave_in_a_thread", "cancel_itself", "show_the_unspeakable", "show_too_much"]
)
async def test_a_tool_cannot_end_the_process_or_the_turn(tools: Path, name: str, caplog: Any) -> None:
    async with conversation(scripted_model(call(name), "That did not work."), tools=tools) as talk:
        reply = await talk.say("Do it")
    assert reply.text == "That did not work."
    assert "private" not in caplog.text


async def test_what_json_has_no_form_for_is_shown_as_well_as_can_be(tools: Path) -> None:
    """As it was when it was shown, and the turn is journalled all the same."""
    async with conversation(scripted_model(call("show_strange_things"), "Shown."), tools=tools) as talk:
        reply = await talk.say("Show me")
    assert reply.data == [{"(1, 2)": 3, "cycle": {"now": 1, "self": None}, "nan": None, "text": "\ufffd"}]
    assert reply.text == "\ufffd Hello. Shown."


async def test_a_tool_says_no_more_than_anybody_can_listen_to(tools: Path) -> None:
    async with conversation(scripted_model(call("talk_too_much"), "Phew."), tools=tools) as talk:
        reply = await talk.say("Talk")
    assert reply.text.count("Line") == 200


async def test_a_tool_that_returns_nothing_is_done(tools: Path, gemini: Gemini, start: Any) -> None:
    gemini.script(calls(("nothing", {})), text("OK."))
    backend: Backend = await start(tools_dir=tools)
    await backend.caller().say("Do nothing")
    assert "'output': 'Done.'" in str(gemini.requests[1].body["contents"][-1])


async def test_blocked_sync_tools_do_not_hold_up_others(tools: Path) -> None:
    blocked = [call("stuck", number=n) for n in range(12)]
    async with conversation(scripted_model([*blocked, call("quick")], "Some."), tools=tools) as talk:
        began = time.monotonic()
        await talk.say("All of them")
        assert time.monotonic() - began < 1.4


def broken_call(arguments: str) -> runs.RecordedModelCall:
    chunk = {"name": "clock", "args": arguments, "id": "c", "index": 0, "type": "tool_call_chunk"}
    return runs.RecordedModelCall(chunks=[[0, "", {"tool_call_chunks": [chunk]}]])


@pytest.mark.parametrize("arguments", ['{"place": "Tok', '{"place": ', "[1]"])
async def test_half_a_call_is_not_run(arguments: str) -> None:
    """It is asked for once more instead."""
    model = scripted_model("In the end, words.")
    model.script.appendleft(broken_call(arguments))
    async with conversation(model) as talk:
        reply = await talk.say("What time is it?")
    assert reply.tool_calls == []
    assert reply.text == "In the end, words."


async def test_calls_without_an_id_or_with_one_for_two_are_each_run_once() -> None:
    def chunk(place: str, index: int, id_: str | None) -> dict[str, Any]:
        args = f'{{"place": "{place}"}}'
        return {"name": "clock", "args": args, "id": id_, "index": index, "type": "tool_call_chunk"}

    def step(*chunks: dict[str, Any]) -> runs.RecordedModelCall:
        return runs.RecordedModelCall(chunks=[[0, "", {"tool_call_chunks": list(chunks)}]])

    model: ScriptedModel = scripted_model("There.")
    model.script.appendleft(step(chunk("Rome", 0, "call_0")))
    model.script.appendleft(step(chunk("Tokyo", 0, "call_0"), chunk("Oslo", 1, "call_0"), chunk("Paris", 2, None)))
    async with conversation(model) as talk:
        reply = await talk.say("Four cities")
    assert [arguments["place"] for _, arguments in reply.tool_calls] == ["Tokyo", "Oslo", "Paris", "Rome"]
    assert reply.text == "There."


async def test_a_model_that_calls_tools_it_was_not_offered_is_stopped(gemini: Gemini, start: Any) -> None:
    gemini.answer = lambda _: calls(("clock", {"place": "Tokyo"}))
    backend: Backend = await start(max_tool_steps=2)
    reply = await backend.caller().say("Go on for ever")
    assert reply.text.count("Tokyo") == 1  # what the tool found is said in place of an answer
    assert len(gemini.requests) == 4


async def test_one_checkpoint_is_kept_of_a_conversation(gemini: Gemini, start: Any) -> None:
    gemini.answer = lambda _: text("Yes.")
    backend: Backend = await start()
    caller = backend.caller("c1")
    for _ in range(5):
        await caller.say("More?")
    assert backend.agent is not None
    await backend.agent.drain(2)
    rows = await backend.agent._journal._database.fetch("SELECT count(*) FROM checkpoints")
    assert rows[0][0] == 1


async def test_a_flood_of_data_costs_the_next_turn_the_newest_twenty(gemini: Gemini, start: Any) -> None:
    gemini.answer = lambda _: text("Yes.")
    backend: Backend = await start()
    assert backend.agent is not None
    await asyncio.gather(*(backend.agent.note("c1", f"d{n}", "data", {"n": n}) for n in range(100)))
    caller = backend.caller("c1")
    await caller.say("And?")
    shown = gemini.requests[0].body["contents"][-1]["parts"][0]["text"]
    assert shown.count("data:") == 20
    await caller.say("Again?")
    assert gemini.requests[1].body["contents"][-1]["parts"] == [{"text": "Again?"}]


def tool(name: str) -> Any:
    async def function(n: int) -> str:
        """A tool."""
        return str(n)

    function.__name__ = name
    return function


@pytest.mark.parametrize(
    ("name", "options", "fault"),
    [
        ("confirm", {}, "is not `confirm`"),
        ("book a table!", {}, "letters, digits"),
        ("fine", {"on_barge_in": "finsih"}, "one of finish, cancel, protect"),
        ("fine", {"say": "Number {m}."}, "not one of its arguments"),
        ("fine", {"say": "Number {n:.2f}."}, "without a format"),
    ],
)
def test_what_cannot_work_is_refused_at_import(name: str, options: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        voice_tool(name=name, **options)(tool("fine"))


def test_an_argument_that_langchain_keeps_for_itself_is_refused() -> None:
    async def function(config: str) -> str:
        """A tool."""
        return config

    with pytest.raises(ValueError, match="use another"):
        voice_tool(function)


def test_the_chunk_type_is_what_the_broken_calls_above_are_made_of() -> None:
    chunk = AIMessageChunk(
        content="",
        tool_call_chunks=[{"name": "a", "args": '{"x": 1', "id": "1", "index": 0, "type": "tool_call_chunk"}],
    )
    assert chunk.tool_calls[0]["args"] == {"x": 1}, "LangChain reads half a call as a whole one"
