"""How a turn begins: what it must know is looked up in one visit, then LangGraph reads its memory, once."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.tracers import context as tracers

from agent.graph import build_graph
from agent.storage.open import open_storage
from agent.storage.sqlite import SQLite
from agent.turns import Say, TurnRequest
from api.settings import Settings
from tests.support.backend import Backend
from tests.support.conversation import caller_said, quiet, results_in
from tests.support.gemini import Gemini, calls, text

APOLOGY = Settings(_env_file=None).apology_message


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


async def test_a_turn_is_admitted_before_its_memory_is_read(
    gemini: Gemini, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a conversation that another process forgets in between would come back."""
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
    for turn in " ".join(visits).split(" .")[:2]:
        assert turn.split()[:2] == ["SQLite.fetch_each.<locals>.<lambda>", "SqliteSaver.get_tuple"]
        assert turn.count("get_tuple") == 1


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


async def held_up(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, do: Callable[[], Any], seconds: float = 0.2
) -> list[float]:
    """Once nothing runs, let an admission take a moment, in which `do` is done. When those ended."""
    await quiet(backend)
    assert backend.agent
    journal, ended = backend.agent._journal, []
    admit = journal.admit

    async def slow(asked: Any) -> Any:
        await asyncio.sleep(seconds)
        await asyncio.to_thread(do)
        entry = await admit(asked)
        ended.append(time.monotonic())
        return entry

    monkeypatch.setattr(journal, "admit", slow)
    return ended


def changed(path: Path, sql: str, *values: Any) -> None:
    """By another process."""
    with sqlite3.connect(path, isolation_level=None) as connection:
        connection.execute(sql, values)


async def test_what_is_said_at_a_shutdown_is_heard_though_the_turn_was_not_admitted(
    gemini: Gemini, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gemini.script(text("Hello."))
    backend: Backend = await start()
    await backend.caller("c1").say("Hi")

    def full() -> None:
        raise sqlite3.OperationalError("database or disk is full")

    await held_up(backend, monkeypatch, full)
    talking = asyncio.create_task(backend.caller("c1").say("And?", turn="t2"))
    await asyncio.sleep(0.1)
    assert backend.agent
    await backend.agent.drain(0)
    assert (await talking).text.strip() == APOLOGY


async def test_an_admission_that_fails_ends_in_the_apology_and_the_model_is_not_asked(
    gemini: Gemini, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gemini.script(text("Hello."))
    backend: Backend = await start()
    caller = backend.caller("c1")
    await caller.say("Hi")

    def full() -> None:
        raise sqlite3.OperationalError("database or disk is full")

    await held_up(backend, monkeypatch, full)
    for _ in range(2):
        assert (await caller.say("And?")).text == APOLOGY
    await gemini.settled()
    assert len(gemini.requests) == 1


async def test_a_forgotten_conversation_does_not_come_back(
    gemini: Gemini, start: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gemini.script(text("Hello."), text("Who are you?"))
    backend: Backend = await start()
    caller = backend.caller("c1")
    await caller.say("A secret")

    def forget() -> None:
        for table, column in (("turns", "conversation"), ("checkpoints", "thread_id")):
            changed(tmp_path / "voice.db", f"DELETE FROM {table} WHERE {column} = 'c1'")

    await held_up(backend, monkeypatch, forget)
    assert (await caller.say("Hi")).text == "Who are you?"
    assert [len(request.body["contents"]) for request in gemini.requests] == [1, 1]


async def test_whoever_reads_a_turn_waits_for_its_admission(
    gemini: Gemini, start: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gemini.script(text("Hello."), text("Who are you?"))
    backend: Backend = await start()
    await backend.caller("c1").say("A secret")
    await held_up(backend, monkeypatch, lambda: changed(tmp_path / "voice.db", "DELETE FROM checkpoints"))
    assert backend.agent
    turn = await backend.agent.begin(TurnRequest("c1", "t2", text="Hi"))
    with turn.reader():
        said = [event.text async for event in turn.stream() if isinstance(event, Say)]
    assert "".join(said) == "Who are you?"
    assert (turn.first_words_ms or 0) >= 200


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_a_checkpoint_that_somebody_else_has_written_is_read(
    gemini: Gemini, start: Any, request: pytest.FixtureRequest, tmp_path: Path, database: str
) -> None:
    """Such as a script with LangGraph's `update_state`."""
    url = f"sqlite:///{tmp_path}/voice.db"
    if database == "postgres":
        url = request.getfixturevalue("postgres_url")
    gemini.answer = lambda _: text("Hm.")
    caller = (await start(database_url=url)).caller("c1")
    await caller.say("One")
    async with open_storage(url) as storage:
        added: Any = {"messages": [HumanMessage("A colleague was here.", id="x")]}
        await build_graph(storage.saver).aupdate_state({"configurable": {"thread_id": "c1"}}, added, as_node="ask")
    await caller.say("Two")
    assert "A colleague was here." in caller_said(gemini.requests[-1].body)
