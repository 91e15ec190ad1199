"""An event loop whose clock jumps: it never waits, and the same program runs the same way every time.

When nothing is ready the clock goes on to the next timer. So a recorded call of forty seconds takes milliseconds,
and everything happens at the very time it happened. Nothing in it may use threads or sockets: they take real time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Stalled(Exception):
    """Everything waits, and nothing is going to happen: a deadlock, or something that takes real time."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._selector_of_time = _Jump(self)
        super().__init__(self._selector_of_time)
        self._clock = 0.0

    def time(self) -> float:
        return self._clock

    def jump(self, seconds: float) -> None:
        self._clock += seconds


class _Jump(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stalled("nothing is going to happen any more")
        if timeout > 0:
            self._loop.jump(timeout)
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        return ready


def run_in_virtual_time(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
