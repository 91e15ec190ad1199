"""What may be seen of the agent from outside: turns and tool calls, as they begin and once they are over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from agent.failures import logged
from agent.turns.turn import ToolCallStatus, Turn

log = logging.getLogger(__name__)


class Observer:
    """Override the methods of interest. They are called in the event loop and must not block."""

    def turn_began(self, turn: Turn) -> None: ...

    def turn_over(self, turn: Turn) -> None:
        """It is journalled. Tools that outlive it may still run."""

    def tool_began(self, turn: Turn, tool: ToolCallStatus) -> None: ...

    def tool_over(self, turn: Turn, tool: ToolCallStatus) -> None:
        """Before its turn is over, unless `tool.late`."""


class Observers(Observer):
    """Several observers as one. What one of them raises is logged, and the others are called all the same."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def turn_began(self, turn: Turn) -> None:
        self._each(lambda one: one.turn_began(turn))

    def turn_over(self, turn: Turn) -> None:
        self._each(lambda one: one.turn_over(turn))

    def tool_began(self, turn: Turn, tool: ToolCallStatus) -> None:
        self._each(lambda one: one.tool_began(turn, tool))

    def tool_over(self, turn: Turn, tool: ToolCallStatus) -> None:
        self._each(lambda one: one.tool_over(turn, tool))

    def _each(self, tell: Callable[[Observer], Any]) -> None:
        for observer in self._observers:
            with logged(log, f"{type(observer).__name__} failed"):
                tell(observer)
