"""How a turn begins: what it must know is looked up in one visit, and thinking begins while LangGraph gets there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.tracers import context as tracers

from agent import graph
from agent.storage.sqlite import SQLite
from api.settings import Settings
from tests.support.backend import Backend
from tests.support.conversation import quiet, results_in
from tests.support.gemini import Gemini, calls, text


class Watcher(AsyncCallbackHandler):
    def __init__(self) -> None:
        self.parents: dict[UUID, UUID | None] = {}
        self.asked: list[UUID] = []

    async def on_chain_start(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any) -> None:
        self.parents[run_id] = parent_run_id

    async def on_chat_model_start(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any) -> None:
        self.parents[run_id] = parent_run_id
        self.asked.append(run_id)


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    """Sees every run of LangChain's in this process, as LangSmith's tracer does."""
    seeing = Watcher()
    tracers.register_configure_hook(ContextVar("watcher", default=seeing), inheritable=True)
    yield seeing
    tracers._configure_hooks.pop()


async def test_for_a_tracer_the_model_call_is_a_part_of_the_turns_run(
    gemini: Gemini, start: Any, watcher: Watcher
) -> None:
    gemini.script(text("Here I am."))
    backend: Backend = await start()
    assert (await backend.caller().say("Hello?")).text == "Here I am."
    (asked,) = watcher.asked[-1:]
    depth = 0
    while parent := watcher.parents.get(asked):
        asked, depth = parent, depth + 1
    assert depth == 2  # the node, and the run


async def test_a_run_that_breaks_off_before_the_first_node_leaves_no_request_open(
    gemini: Gemini, start: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any) -> str:
        await asyncio.sleep(0.2)
        raise RuntimeError("the secret is 42")

    monkeypatch.setattr(graph, "begin", broken)
    gemini.script(text("Well, never heard.", delay=5))
    backend: Backend = await start()
    assert (await backend.caller().say("Hello?")).text == f"Well, {Settings(_env_file=None).apology_message}"
    await asyncio.wait_for(gemini.settled(), 3)
    assert [request.closed_early for request in gemini.requests] == [True]
    assert "42" not in caplog.text


async def test_a_turn_that_is_cancelled_as_it_begins_to_think_leaves_nobody_thinking(
    gemini: Gemini, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    thinking: list[graph.Context] = []

    def begin_and_be_cancelled(context: graph.Context) -> None:
        begin(context)
        thinking.append(context)
        task = asyncio.current_task()
        assert task
        task.cancel()

    begin = graph.begin_thinking
    monkeypatch.setattr(graph, "begin_thinking", begin_and_be_cancelled)
    gemini.answer = lambda _: text("Never heard.", delay=5)
    backend: Backend = await start()
    assert (await backend.caller().say("Hello?")).ended_once
    [context] = thinking
    await asyncio.sleep(0.1)
    assert context.thinking
    assert context.thinking.done()


async def test_thinking_begins_before_the_graph_is_ready(
    gemini: Gemini, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(state: graph.State, runtime: Any) -> str:
        await asyncio.sleep(0.5)
        return "think"

    monkeypatch.setattr(graph, "begin", slow)
    gemini.script(calls(("clock", {"place": "Rome"})), text("It is late."))
    backend: Backend = await start()
    reply = await backend.caller().say("What time is it?")
    first, second = gemini.requests
    assert second.started - first.started > 0.4  # the tool had to wait for the graph, the first question had not
    assert reply.text.endswith("It is late.")


async def test_a_turn_is_admitted_before_its_memory_is_read(
    gemini: Gemini, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a conversation that another process forgets in between would come back. One that is new is not read."""
    visits: list[str] = []
    visit = SQLite.visit

    def noted(self: SQLite, work: Any, *arguments: Any) -> Any:
        visits.append(work.__qualname__)
        return visit(self, work, *arguments)

    gemini.script(text("Here I am."), text("Here I am."))
    backend: Backend = await start()
    monkeypatch.setattr(SQLite, "visit", noted)
    for _ in range(2):
        await backend.caller("c1").say("Hello?", turn=uuid4().hex)
        await quiet(backend)
        visits.append(".")
        assert backend.agent
        backend.agent._memory.newest.drop("c1")
    first, second = " ".join(visits).split(" .")[:2]
    assert second.split()[:2] == ["SQLite.fetch_each.<locals>.<lambda>", "SqliteSaver.get_tuple"]
    assert "get_tuple" not in first


NESTED = """
from typing import TypedDict
from langgraph.graph import START, StateGraph
from agent import voice_tool

class State(TypedDict):
    messages: list[str]

async def look(state: State) -> dict:
    return {"messages": [*state.get("messages", []), "looked"]}

graph = StateGraph(State)
graph.add_node("look", look)
graph.add_edge(START, "look")
inner = graph.compile()

@voice_tool
async def nested() -> str:
    \"\"\"Runs a graph of its own.\"\"\"
    return str((await inner.ainvoke({}))["messages"])
"""


async def test_a_graph_that_a_tool_runs_does_not_see_the_conversation(
    gemini: Gemini, start: Any, tmp_path: Path
) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "nested.py").write_text(NESTED)
    backend: Backend = await start(tools_dir=tmp_path / "tools")
    caller = backend.caller()
    gemini.script(*[step for _ in range(2) for step in (calls(("nested", {})), text("Done."))])
    for words in ("A secret.", "And again."):
        await caller.say(words)
    assert [results_in(request.body)[-1] for request in gemini.requests[1::2]] == [("nested", "['looked']")] * 2
