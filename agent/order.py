"""One turn at a time in a conversation, and the newest wins: within this process. See agent/workers.py for others.

The journal's numbers say which is the newest: two that came at the same time may get here the other way round.
Two runs of one thread would lose one of them. An interrupted turn ends by itself; should it hang, it is cancelled,
and what it had done is recovered from the journal as after a crash. One that is over, and only being entered in the
journal, is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from weakref import WeakValueDictionary

from agent.turn import Turn

PATIENCE = 0.25  # seconds that an interrupted turn has for its end


class Order:
    def __init__(self) -> None:
        self._newest: dict[str, tuple[Turn, asyncio.Task[Any]]] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def alone(self, turn: Turn) -> AsyncIterator[None]:
        """Within, this task's turn is the conversation's only one: the one before was interrupted, and has ended."""
        conversation, mine = turn.asked.conversation_id, (turn, cast("asyncio.Task[Any]", asyncio.current_task()))
        before, watchdog = self._newest.get(conversation), None
        if before and before[0].number > turn.number:
            turn.interrupt()
            turn.end()  # its words are entered later; nobody shall wait for that
        else:
            self._newest[conversation] = mine
            watchdog = _hurry(*before) if before else None
        lock = self._locks.setdefault(conversation, asyncio.Lock())
        try:
            async with lock:
                yield
        finally:
            if watchdog:
                watchdog.cancel()
            if self._newest.get(conversation) is mine:
                del self._newest[conversation]


def _hurry(turn: Turn, task: asyncio.Task[Any]) -> asyncio.TimerHandle:
    turn.interrupt()
    return asyncio.get_running_loop().call_later(PATIENCE, lambda: turn.ended or task.cancel())
