"""Holding the conversation of a scenario through the real application, in virtual time, and judging it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from agent.replay import (
    ScriptedModel,
    SimulatedTools,
    Stalled,
    TookTooLong,
    VirtualTimeLoop,
    export_run,
    run_in_virtual_time,
)
from agent.replay import run_file as runs
from api.replay import Project, parts_for, replay, temporary_application
from api.simulate.caller import CallerSide, ScriptedCaller
from api.simulate.conversation import Conversation
from api.simulate.expectations import unmet
from api.simulate.promises import Promises
from api.simulate.scenario import Scenario
from api.simulate.script import model_of
from api.simulate.world import Tools

_LONGEST = 20.0  # real seconds that one conversation may take
_TOOLS_END = 60.0  # seconds that tools have after the call


@dataclass
class Result:
    """What came of a scenario. faults: in words, the cause first; none when it has passed. run: to replay it; only of a
    conversation that has not passed, and could be told."""

    name: str
    conversation: Conversation
    faults: Sequence[str] = ()
    run: runs.RunFile | None = None

    @property
    def passed(self) -> bool:
        return not self.faults


def simulate(
    name: str,
    scenario: Scenario,
    project: Project,
    settings: runs.RecordedSettings,
    *,
    folder: Path,
    secrets: Sequence[str] = (),
) -> Result:
    """Hold it once. folder: where the scenario's file is. settings: what the project is set to. secrets: what must not
    stand in a run file."""
    settings = settings.model_copy(update={"today": scenario.world.date, "fallback": False})
    call = _Call(name, scenario, project, settings, model_of(scenario, folder))
    faults = call.faults()
    return Result(name, call.conversation, faults, call.run_file(secrets) if faults else None)


class _Call:
    """A scenario's call."""

    def __init__(
        self, name: str, scenario: Scenario, project: Project, settings: runs.RecordedSettings, model: ScriptedModel
    ) -> None:
        self.conversation = Conversation(name)
        self._scenario, self._project, self._settings, self._model = scenario, project, settings, model
        self._tools = Tools(scenario.world.tools)
        self._exported: runs.RunFile | None = None
        self._offline: Sequence[tuple[float, str]] = ()

    def faults(self) -> list[str]:
        """Hold it; what is wrong with it, the cause first."""
        broken_off = list(self._hold())
        self.conversation.unexpected = list(self._unexpected())
        config = parts_for(self._settings, self._project, self._model).config
        promises = Promises(self._project.folder, config, self._settings.apology, self._scenario.expect)
        return [
            *broken_off,
            *promises.broken(self.conversation),
            *unmet(self._scenario.expect, self.conversation),
            *(self._unused() if not broken_off else ()),
        ]

    def run_file(self, secrets: Sequence[str]) -> runs.RunFile | None:
        """The conversation, to be replayed without a model. None when there is nothing to replay."""
        if self._exported is None:
            return None
        self._exported.settings = self._settings
        return replay(runs.scrubbed(self._exported, secrets), self._project).run

    def _hold(self) -> Iterator[str]:
        try:
            run_in_virtual_time(self._held(), longest=_LONGEST)
        except TimeoutError:
            yield f"The call was not over after {self._scenario.at_most:g} s, which at_most: allows."
        except TookTooLong:
            yield f"The call took more than {_LONGEST:g} s of real time: something in it goes round without end."
        except Stalled:
            yield "The call stands still: everything waits, and nothing is going to happen."

    async def _held(self) -> None:
        loop, side = asyncio.get_running_loop(), CallerSide(self._scenario.world, self.conversation)
        tools = SimulatedTools(self._tools.answer_of, side.seconds)
        self.conversation.performed = tools.performed
        project = replace(self._project, folder=tools.in_place_of(self._project.folder))
        parts = parts_for(self._settings, project, self._model)
        async with temporary_application(parts, now=loop.time, observers=[side]) as (app, agent, storage):
            try:
                async with asyncio.timeout(self._scenario.at_most):
                    await side.call(app, ScriptedCaller(self._scenario.caller))
            finally:
                await agent.drain(_TOOLS_END)
                await side.settle()
                self._exported = await export_run(storage.database, self.conversation.name)
                self._offline = loop.offline if isinstance(loop, VirtualTimeLoop) else ()

    def _unexpected(self) -> Iterator[tuple[str, str]]:
        """What the scenario has nothing for, by turn."""
        for at, call in self._tools.missing:
            yield self.conversation.turn_at(at), f"the scenario does not say under world: tools: what {call} returns"
        for at, task in dict.fromkeys(self._offline):
            yield self.conversation.turn_at(at), f"the {task} wanted to use the network: say what it returns"
        for turn in dict.fromkeys(self._model.asked_too_often):
            yield turn, "the model was asked for more answers than there are under model:"

    def _unused(self) -> Iterator[str]:
        """What of the scenario came to nothing."""
        for step in self.conversation.unsaid:
            yield f"The call was over before this came: {step}."
        if left := len(self._model.script):
            yield f"{left} of the model's answers {'was' if left == 1 else 'were'} never asked for."
