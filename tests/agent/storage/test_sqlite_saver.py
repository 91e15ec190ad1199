"""LangGraph's own suite for checkpointers, on the one for SQLite."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver, Checkpoint, CheckpointMetadata, empty_checkpoint
from langgraph.checkpoint.conformance import checkpointer_test, validate

from agent.storage.open import open_storage
from agent.storage.sqlite import open_sqlite

# These look for other checkpoints than the newest, of which it keeps none, or want them listed.
HISTORY = {
    "test_put_multiple_checkpoints_same_thread",
    "test_put_incremental_channel_update",
    "test_get_tuple_specific_checkpoint_id",
    "test_delete_thread_removes_checkpoints",
}


async def test_it_is_a_checkpointer_without_a_history(tmp_path: Path) -> None:
    @checkpointer_test(name="ThreadedSaver")
    async def saver() -> AsyncGenerator[BaseCheckpointSaver[str], None]:
        async with open_storage(f"sqlite:///{tmp_path}/voice.db") as storage:
            yield storage.saver

    report = await validate(saver)
    results = [report.results[name] for name in ("put", "put_writes", "get_tuple", "delete_thread")]
    assert sum(result.tests_passed for result in results) >= 38
    failures = [failure for result in results for failure in result.failures or ()]
    assert {failure.partition(":")[0] for failure in failures} == HISTORY


async def test_a_closed_database_says_so(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "voice.db") as database:
        visits = [asyncio.ensure_future(database.visit(work)) for work in (lambda: 1, lambda: 1 // 0, lambda: 3)]
        visits[0].cancel()
        assert [type(came) for came in await asyncio.gather(*visits, return_exceptions=True)] == [
            asyncio.CancelledError, ZeroDivisionError, int,
        ]  # fmt: skip
    with pytest.raises(sqlite3.ProgrammingError):
        await database.fetch("SELECT 1")


async def test_a_checkpoint_after_one_of_a_later_clock_is_kept(tmp_path: Path) -> None:
    """The clock may have been set back, or the file may come from another machine."""
    async with open_storage(f"sqlite:///{tmp_path}/voice.db") as storage:
        for id_, said in (("ff", "before"), ("0a", "after")):
            checkpoint: Checkpoint = {**empty_checkpoint(), "id": id_, "channel_values": {"messages": [said]}}
            await storage.saver.aput(
                {"configurable": {"thread_id": "c1", "checkpoint_ns": ""}}, checkpoint, CheckpointMetadata(), {}
            )
        assert await storage.state("c1") == {"messages": ["after"]}
