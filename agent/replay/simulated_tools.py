"""Standing in for the functions of tools, and for nothing else of them.

A tool's options, its check, its time limit, its confirmation and the journal are the real ones.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

from langchain_core.tools import BaseTool, ToolException

from agent.json_values import to_json
from agent.tooling import ToolFolder, VoiceTool, fill, options_of, tool_context

Answer = Callable[[dict[str, Any]], Awaitable[Any]]
"""What a tool returns for its arguments. ToolFailure when it fails."""


class ToolFailure(Exception):
    """The tool refuses or fails, and tells the model why."""


class ToolBreaks(Exception):
    """The tool fails as none should: by an error that it does not handle."""


@dataclass(frozen=True)
class Performed:
    """A tool's function was called. key: the call's, which stays the same should it ever be run again. question: what
    its caller must have been asked before; empty for nothing. at: when, in the event loop's time."""

    key: str
    tool: str
    arguments: dict[str, Any]
    question: str
    at: float


class SimulatedTools:
    """answer_of: for a tool, what answers in its place; None for one whose own function is to run. language: the call's
    at present. performed: every call of a function, in order."""

    def __init__(self, answer_of: Callable[[str], Answer | None], language: Callable[[], str]) -> None:
        self._answer_of = answer_of
        self._language = language
        self.performed: list[Performed] = []

    def in_place_of(self, folder: ToolFolder) -> ToolFolder:
        """The folder with these tools' functions. Sync functions run in the event loop's thread."""
        return folder.changed(self._stand_in)

    def _stand_in(self, tool: BaseTool) -> BaseTool:
        if not isinstance(tool, VoiceTool) or tool.coroutine is None:
            raise TypeError(f"the folder has adopted no tool {tool.name}")
        own, answer = _in_loop(tool.coroutine), self._answer_of(tool.name)

        async def perform(**arguments: Any) -> Any:
            self._note(tool, arguments)
            if answer is None:
                return await own(**arguments)
            try:
                return await answer({name: to_json(value) for name, value in arguments.items()})
            except ToolFailure as failure:
                raise ToolException(str(failure)) from None

        check = tool.check and _in_loop(tool.check)
        return tool.model_copy(update={"coroutine": perform, "func": None, "check": check})

    def _note(self, tool: VoiceTool, arguments: Mapping[str, Any]) -> None:
        question = fill(options_of(tool).confirm or "", arguments, self._language())
        key, made = tool_context().call_id, {name: to_json(value) for name, value in arguments.items()}
        self.performed.append(Performed(key, tool.name, made, question, asyncio.get_running_loop().time()))


def _in_loop(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """A function that was given a thread of its own, without it: that would take real time."""
    own = getattr(function, "__wrapped__", function)
    if inspect.iscoroutinefunction(own):
        return function

    @wraps(own)
    async def call(*args: Any, **kwargs: Any) -> Any:
        return own(*args, **kwargs)

    return call
