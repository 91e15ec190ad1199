"""What the tools do in a scenario."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from agent.replay import Answer, ToolBreaks, ToolFailure
from agent.tooling import tool_context
from agent.turns import CallControl
from api.simulate.scenario import ToolAnswer


class Tools:
    """The tools as the scenario has them. real: those that do something to the call and to nothing else: where it says
    nothing of them, their own functions run. missing: calls of which it says nothing, with the time of each."""

    def __init__(self, answers: Mapping[str, Sequence[ToolAnswer]], real: Collection[str] = ()) -> None:
        self._answers = answers
        self._real = real
        self._used: defaultdict[int, int] = defaultdict(int)
        self.missing: list[tuple[float, str]] = []

    def is_real(self, tool: str) -> bool:
        """Whether its own function runs."""
        answers = self._answers.get(tool)
        return tool in self._real if answers is None else any(answer.real for answer in answers)

    def answer_of(self, tool: str) -> Answer | None:
        """What answers in the tool's place; None when its own function is to run."""
        if self.is_real(tool):
            return None
        answers = self._answers.get(tool, ())

        async def answered(arguments: dict[str, Any]) -> Any:
            answer = self._next(tool, answers, arguments)
            if answer is None:
                self.missing.append((asyncio.get_running_loop().time(), f"{tool}({written(arguments)})"))
                raise ToolFailure(f"The scenario does not say what {tool} returns.")
            return await _given(answer)

        return answered

    def _next(self, tool: str, answers: Sequence[ToolAnswer], arguments: Mapping[str, Any]) -> ToolAnswer | None:
        """The first for such a call that was not given yet; the last of them when all were."""
        fitting = [answer for answer in answers if answer.when.items() <= arguments.items()]
        unused = [answer for answer in fitting if not self._used[id(answer)]]
        chosen = next(iter(unused or fitting[-1:]), None)
        self._used[id(chosen)] += 1
        return chosen


async def _given(answer: ToolAnswer) -> Any:
    if answer.times_out:
        await asyncio.Event().wait()
    await asyncio.sleep(answer.after)
    if answer.fails is True:
        raise ToolBreaks("as the scenario has it")
    if answer.fails:
        raise ToolFailure(answer.fails)
    if answer.transfer:
        _transfer(answer.transfer)
    return answer.result


def _transfer(to: str) -> None:
    """Any name will do as the number, which nobody dials."""
    context = tool_context()
    if "transfer" not in context.abilities:
        raise ToolFailure("The platform of this call cannot transfer it.")
    context.control(CallControl("transfer", to))


def written(arguments: Mapping[str, Any]) -> str:
    """A call's arguments as people read them."""
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())
