"""One turn at a time in a conversation, and the newest wins: within this process. For others: storage/workers.py.

The journal's numbers say which is the newest: two that came at the same time may get here the other way round.
Two runs of one thread would lose one of them. An interrupted turn ends by itself; should it hang, it is cancelled,
and what it had done is recovered from the journal as after a crash. One that is over, and only being entered in the
journal, is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakValueDictionary

from agent.turns.turn import Turn

PATIENCE = 0.25  # seconds that an interrupted turn has for its end


@dataclass(frozen=True)
class _Place:
    """A turn, the task that runs it, and since when it has wanted to be the only one."""

    turn: Turn
    task: asyncio.Task[Any]
    since: float

    def is_newer_than(self, turn: Turn) -> bool:
        """Numbers tell of turns that came side by side; they begin anew once a conversation has been forgotten."""
        return turn.began < self.since and turn.number < self.turn.number

    def hurry(self) -> asyncio.TimerHandle:
        self.turn.interrupt()
        loop = asyncio.get_running_loop()
        return loop.call_later(PATIENCE, lambda: self.turn.ended or self.task.cancel())


class TurnQueue:
    def __init__(self) -> None:
        self._newest: dict[str, _Place] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._admissions: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def admission(self, conversation: str) -> asyncio.Lock:
        """Held while a request is admitted that may be a turn which was run before: those that come after it wait, so
        that they get later numbers."""
        return self._admissions.setdefault(conversation, asyncio.Lock())

    @asynccontextmanager
    async def alone(self, turn: Turn) -> AsyncIterator[None]:
        """Within, this task's turn is the conversation's only one: the one before was interrupted, and has ended."""
        conversation, task = turn.request.conversation_id, cast("asyncio.Task[Any]", asyncio.current_task())
        before, mine, watchdog = self._newest.get(conversation), _Place(turn, task, turn.now()), None
        if before and before.is_newer_than(turn):
            turn.interrupt()
            turn.end()  # its words are entered later, and no reader waits for that
        else:
            self._newest[conversation] = mine
            watchdog = before.hurry() if before else None
        lock = self._locks.setdefault(conversation, asyncio.Lock())
        try:
            async with lock:
                yield
        finally:
            if watchdog:
                watchdog.cancel()
            if self._newest.get(conversation) is mine:
                del self._newest[conversation]
