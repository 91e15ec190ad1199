"""LangGraph's own suite for checkpointers, on the one for SQLite."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance import checkpointer_test, validate

from agent.memory import open_memory

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
        async with open_memory(f"sqlite:///{tmp_path}/voice.db") as memory:
            yield memory.saver

    report = await validate(saver)
    results = [report.results[name] for name in ("put", "put_writes", "get_tuple", "delete_thread")]
    assert sum(result.tests_passed for result in results) >= 38
    failures = [failure for result in results for failure in result.failures or ()]
    assert {failure.partition(":")[0] for failure in failures} == HISTORY
