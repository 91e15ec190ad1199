"""Tasks that come to an end."""

from __future__ import annotations

import asyncio


async def cancel(task: asyncio.Task[None]) -> None:
    """And wait until it is over."""
    task.cancel()
    await asyncio.wait([task])
