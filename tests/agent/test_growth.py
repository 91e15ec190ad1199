"""A turn costs at the end of a long conversation what it cost at its beginning, and the database holds no more of it
than its transcript.

CI holds 160 turns. In full, with the figures: GROWTH_TURNS=1000 pytest -s tests/agent/test_growth.py
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections import deque
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage, ToolMessage

from agent.agent import Agent, open_agent
from agent.llm.answer import Models
from agent.memory.history import KEPT_MESSAGES
from agent.replay import run_file as runs
from agent.replay.stand_ins import ScriptedModel
from agent.storage.database import Database, Query, Row
from agent.storage.open import _PRUNED_EVERY, Storage, open_storage
from agent.summaries import PROMPT
from agent.tooling.folder import ToolFolder
from agent.turns import HeardReport, Observer, Turn, TurnRequest

TURNS = int(os.environ.get("GROWTH_TURNS", "160"))
FULL = TURNS >= 1000
COMPARED = 100 if FULL else 50  # turns at each end
SLOWER = 1.25 if FULL else 1.5
TOOL = '''
from agent import voice_tool

@voice_tool
async def order(thing: str) -> str:
    """Order something."""
    return f"Ordered {thing}, its number is 4711. " * 4
'''
SHORT = {"turns_running", "tool_calls_untold", "notes_unseen", "sqlite_autoindex_summaries_1"}  # a few rows of each
TABLES = ("turns", "tool_calls", "notes", "summaries", "checkpoints")
CHECKPOINTS = ("checkpoint", "writes")  # how the names of their tables begin


class Endless(ScriptedModel):
    """Calls a tool, then says thirty words; and summarises."""

    def next_answer(self, messages: Sequence[BaseMessage]) -> runs.RecordedModelCall:
        if messages[0].text == PROMPT:
            return runs.RecordedModelCall(chunks=[[0, "They have ordered many things. " * 20]])
        if isinstance(messages[-1], ToolMessage):
            return runs.RecordedModelCall(chunks=[[0, " words"]] * 30)
        call = {"name": "order", "args": '{"thing": "tea"}', "id": None, "index": 0, "type": "tool_call_chunk"}
        return runs.RecordedModelCall(chunks=[[0, "", {"tool_call_chunks": [call]}]])


class Watched:
    """A `Database` that remembers the statements."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.statements: list[str] = []

    async def execute(self, sql: str, *parameters: Any) -> int:
        self.statements.append(sql)
        return await self._database.execute(sql, *parameters)

    async def execute_each(self, *statements: Query) -> Sequence[int]:
        self.statements += [sql for sql, *_ in statements]
        return await self._database.execute_each(*statements)

    async def fetch(self, sql: str, *parameters: Any) -> Sequence[Row]:
        self.statements.append(sql)
        return await self._database.fetch(sql, *parameters)

    async def fetch_each(self, *queries: Query) -> Sequence[Sequence[Row]]:
        self.statements += [sql for sql, *_ in queries]
        return await self._database.fetch_each(*queries)


class Over(Observer):
    """Puts every turn that is over into a queue."""

    def __init__(self, over: asyncio.Queue[Turn]) -> None:
        self._over = over

    def turn_over(self, turn: Turn) -> None:
        self._over.put_nowait(turn)


@dataclass
class Long:
    """An agent in a conversation without end."""

    agent: Agent
    storage: Storage
    watched: Watched
    over: asyncio.Queue[Turn]
    turns: int = 0

    async def turn(self, conversation: str = "c1", heard: HeardReport | None = None) -> float:
        """Hold a turn. The seconds until it is journalled."""
        self.turns += 1
        began = time.perf_counter()
        turn = await self.agent.begin(
            TurnRequest(conversation, f"t{self.turns}", text=f"Tea number {self.turns}, please", heard=heard)
        )
        with turn.reader():
            async for _ in turn.stream():
                pass
        assert (await self.over.get()).outcome == "answered"
        return time.perf_counter() - began


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The database: SQLite, or as a test has it."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return f"sqlite:///{tmp_path}/voice.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def long(url: str, tmp_path: Path) -> Any:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "tea.py").write_text(TOOL)
    folder = ToolFolder(tmp_path / "made")
    folder.load()
    over: asyncio.Queue[Turn] = asyncio.Queue()
    models = Models(Endless(script=deque()), first_token=60, summarises=True)
    async with AsyncExitStack() as stack:
        storage = await stack.enter_async_context(open_storage(url))
        watched = Watched(storage.database)
        storage = replace(storage, database=watched, journal=watched)
        agent = await stack.enter_async_context(
            open_agent(storage=storage, folder=folder, models=models, observers=[Over(over)])
        )
        yield Long(agent, storage, watched, over)


@pytest.mark.parametrize("url", ["sqlite", "postgres"], indirect=True)
async def test_a_turn_costs_what_it_cost_at_the_beginning(long: Long, capsys: pytest.CaptureFixture[str]) -> None:
    """The last turns take turns with those of a conversation that has just begun: how busy the machine is, is the
    same for both."""
    for n in range(TURNS - COMPARED):
        await long.turn()
        if n % 3 == 0:
            await long.agent.note("c1", f"n{n}", "data", {"page": n})
    for _ in range(10):
        await long.turn("new")
    both = [(await long.turn("new"), await long.turn()) for _ in range(COMPARED)]
    early, late = (statistics.median(seconds) for seconds in zip(*both, strict=True))
    sizes = await bytes_by_table(long.storage, "c1")
    with capsys.disabled():
        if FULL:
            print(f"\nms per turn: {early * 1000:.2f}, at the end {late * 1000:.2f}: {late / early:.2f}")
            print(f"bytes after {TURNS} turns (rows): {sizes}")
    assert late < SLOWER * early
    kept = _PRUNED_EVERY if long.storage.shared else 1
    assert sizes["checkpoints"][1] <= kept
    assert sum(size for table, (size, _) in sizes.items() if table.startswith(CHECKPOINTS)) < 60_000 * kept
    assert sizes["turns"][0] / TURNS < 6_000, "a turn's transcript"
    state = await long.agent._conversations.graph.aget_state({"configurable": {"thread_id": "c1"}})
    assert len(state.values["messages"]) <= KEPT_MESSAGES
    assert state.values["messages"][0].text.startswith("⟦system: Summary of the conversation")


async def bytes_by_table(storage: Storage, conversation: str) -> dict[str, tuple[int, int]]:
    """(bytes, rows)."""
    sizes = {}
    for table in (*TABLES, *(("checkpoint_blobs", "checkpoint_writes") if storage.shared else ("writes",))):
        if storage.shared:
            length = "octet_length(this::text)"  # of the whole row
        else:
            columns = [row[1] for row in await storage.database.fetch(f"PRAGMA table_info({table})")]
            length = " + ".join(f"coalesce(length(CAST({column} AS BLOB)), 0)" for column in columns)
        of = "thread_id" if table.startswith(CHECKPOINTS) else "conversation"
        query = f"SELECT coalesce(sum({length}), 0), count(*) FROM {table} AS this WHERE {of} = ?"
        size, rows = (await storage.database.fetch(query, conversation))[0]
        sizes[table] = int(size), int(rows)
    return sizes


async def test_no_statement_of_a_turn_looks_through_a_table(long: Long) -> None:
    await long.turn()
    await long.agent.note("c1", "n1", "data", {"page": 1})
    long.watched.statements.clear()
    await long.turn(heard=HeardReport("words words"))
    assert 8 < len(long.watched.statements) < 20
    for statement in set(long.watched.statements):
        plan = await long.storage.database.fetch(f"EXPLAIN QUERY PLAN {statement}", *["x"] * statement.count("?"))
        steps = [row[3] for row in plan]
        assert not [step for step in steps if step.startswith("SCAN")], (statement, steps)
        whole = [step for step in steps if step.endswith("(conversation=?)") and "max(number)" not in statement]
        assert all(step.split()[-2] in SHORT for step in whole), f"reads all of a conversation: {statement} {whole}"


async def test_the_process_keeps_nothing_of_a_conversation_that_is_silent(long: Long) -> None:
    agent = long.agent
    for n in range(12):
        for _ in range(3):
            await long.turn(f"c{n}")
    async with asyncio.timeout(5):
        while agent._summaries._making or agent.open_turns:
            await asyncio.sleep(0.005)
    kept = (
        agent._turns._running,
        agent._turns._tasks,
        agent._conversations.order._newest,
        agent._conversations.order._locks,
        agent._turns,
        agent._tool_runner.running,
        agent._summaries._making,
    )
    assert [len(one) for one in kept] == [0] * 7
    assert len(agent._models._bound) == 1
