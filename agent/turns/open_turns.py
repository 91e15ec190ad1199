"""The turns that are not over and journalled, and the tasks that run them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from agent.turns.request import Key, TurnRequest
from agent.turns.turn import Turn

_MOST = 8  # of one conversation, waiting ones included


class OpenTurns:
    def __init__(self) -> None:
        self._running: dict[Key, Turn] = {}
        self._turns: dict[asyncio.Task[None], Turn] = {}
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}  # of each conversation, oldest first

    def __len__(self) -> int:
        return len(self._turns)

    def __iter__(self) -> Iterator[Turn]:
        return iter(list(self._turns.values()))

    def of(self, conversation: str) -> list[Turn]:
        return [self._turns[task] for task in self._tasks.get(conversation, ())]

    def find(self, request: TurnRequest) -> Turn | None:
        """The turn that runs for a request which came before, if that is enough for this one."""
        turn = self._running.get(request.key)
        return None if turn and turn.interrupted and request.resume else turn

    async def until_earlier_runs_are_over(self, turn: Turn) -> None:
        """Until the turns that were begun for the same request before are journalled."""
        tasks = self._tasks[turn.request.conversation_id]
        before = tasks[: next(i for i, task in enumerate(tasks) if self._turns[task] is turn)]
        if mine := [task for task in before if self._turns[task].request.key == turn.request.key]:
            await asyncio.wait(mine)

    def live(self, conversation: str) -> set[Key]:
        """The keys of the conversation's turns that run in this process."""
        return {
            turn.request.key
            for turn in self.of(conversation)
            if not turn.elsewhere and turn.request.key in self._running
        }

    def add(self, turn: Turn, task: asyncio.Task[None]) -> None:
        self._running[turn.request.key] = self._turns[task] = turn
        self._tasks.setdefault(turn.request.conversation_id, []).append(task)

    def journalled(self, turn: Turn) -> None:
        """The journal knows all of it: a request that comes again is answered from there."""
        if self._running.get(turn.request.key) is turn:
            del self._running[turn.request.key]

    def remove(self, task: asyncio.Task[None]) -> None:
        conversation = self._turns.pop(task).request.conversation_id
        self._tasks[conversation].remove(task)
        if not self._tasks[conversation]:
            del self._tasks[conversation]

    def thin_out(self, conversation: str) -> None:
        """End the oldest of too many turns that wait in one conversation: only the newest will have a reader. The
        first is not one of them: it has the conversation, and has been told to end."""
        for task in self._tasks[conversation][1:-_MOST]:
            turn = self._turns[task]
            turn.refused = not turn.admitted.is_set()
            turn.interrupt()
            asyncio.get_running_loop().call_soon(task.cancel)  # not before its first step, which it would never make

    async def wait(self, seconds: float) -> None:
        """For the end of all of them, at most so long."""
        if self._turns:
            await asyncio.wait(self._turns, timeout=seconds)

    def cancel(self) -> None:
        for task in self._turns:
            task.cancel()
