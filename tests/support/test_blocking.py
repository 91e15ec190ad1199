"""The detector of blocking calls detects them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.support.blocking import BlockingCallError, no_blocking_calls


async def test_a_blocking_call_in_the_loop_raises_and_one_in_a_thread_does_not() -> None:
    with no_blocking_calls():
        with pytest.raises(BlockingCallError, match=r"time\.sleep"):
            time.sleep(0.01)
        with pytest.raises(BlockingCallError, match="open"):
            Path(__file__).read_bytes()
        await asyncio.to_thread(time.sleep, 0.01)
        await asyncio.sleep(0)
    time.sleep(0)
