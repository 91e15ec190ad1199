"""Lines for the caller while a tool takes its time: at growing distances, and only when nobody has spoken."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, cycle

from agent.languages import Texts, in_language, own_line
from agent.tooling.call import ToolRun
from agent.turns import Say

Slow = Texts | Sequence[Texts] | None

STANDARD = ("One moment, please.", "Still working on it.", "It takes a little longer, thank you for waiting.")
_NEXT, _GROWTH, _LONGEST = 6.0, 1.5, 12.0  # seconds between the first two lines; what it grows by; and until where


def lines_of(slow: Slow, language: str) -> Iterator[str]:
    """The lines of a tool's `slow`, without end. None: the standard ones; a text: it, and then those; several: these,
    from the first again after the last; "" or none at all: silence."""
    standard = [own_line(line, language) for line in STANDARD]
    if slow is None:
        return cycle(standard)
    if isinstance(slow, str | Mapping):
        line = in_language(slow, language)
        return chain([line], cycle(standard[1:])) if line else iter(())
    return cycle([in_language(line, language) for line in slow])


class WaitingLines:
    """Speaks for one call. Everybody's words count, so calls that run side by side do not speak over each other."""

    def __init__(self, run: ToolRun) -> None:
        self._run = run
        self._lines = lines_of(run.tool_call.options.slow, run.turn.speaks)
        self._pause = run.tool_call.options.slow_after
        self._next = _NEXT
        self._since = run.status.began
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._timer = asyncio.get_running_loop().call_at(self._due, self._look)

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()

    @property
    def _due(self) -> float:
        """When the caller will have heard nothing for long enough, in the event loop's time."""
        turn = self._run.turn
        said = next((sent.ms for sent in reversed(turn.events) if isinstance(sent.event, Say)), 0)
        return max(self._since, turn.began + said / 1000) + self._pause

    def _look(self) -> None:
        if self._run.turn.now() < self._due - 0.001:  # somebody has spoken; times of events are whole milliseconds
            self.start()
        elif line := next(self._lines, ""):
            self._run.speak(self._run.tool_call.fill(line, self._run.turn.speaks))
            self._since = self._run.turn.now()
            self._pause, self._next = self._next, min(self._next * _GROWTH, _LONGEST)
            self.start()
