"""Blocking calls in an event loop are detected, in every test (conftest.py)."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import pytest
from blockbuster import BlockingError

from tests.support.backend import ROOT


def ours(code: str) -> None:
    """Runs it as if it stood in a module of ours."""
    names = {"time": time, "file": Path(__file__), "sure": suppress(Exception)}
    exec(compile(code, str(ROOT / "agent" / "example.py"), "exec"), names)


@pytest.mark.parametrize(
    "code", ["time.sleep(0.01)", "file.read_bytes()", "file.stat()", "list(file.parent.iterdir())"]
)
async def test_a_blocking_call_in_the_loop_raises_and_one_in_a_thread_does_not(
    code: str, blocking_calls: list[str]
) -> None:
    await asyncio.to_thread(ours, code)
    assert not blocking_calls
    with pytest.raises(BlockingError):
        ours(code)
    assert len(blocking_calls) == 1
    blocking_calls.clear()


async def test_one_whose_error_is_swallowed_is_seen_all_the_same(blocking_calls: list[str]) -> None:
    ours("with sure:\n    time.sleep(0.01)")
    assert "agent/example.py" in blocking_calls.pop()
