"""Holding the conversation of a scenario through the real application, in virtual time, and judging it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.llm import Models, NoStructuredAnswer, StructuredModel, Usage
from agent.replay import (
    ScriptedModel,
    SimulatedTools,
    Stalled,
    TookTooLong,
    VirtualTimeLoop,
    export_run,
    in_real_time,
    run_in_virtual_time,
)
from agent.replay import run_file as runs
from agent.tooling import options_of
from api.platforms import CallDetails, PlatformClient, in_process, open_client
from api.replay import Project, config_for, parts_for, replay, settings_for, temporary_application
from api.simulate.caller import CallerSide, ScriptedCaller
from api.simulate.conversation import Conversation
from api.simulate.expectations import unmet
from api.simulate.judge import Judgement, ModelJudge, judged
from api.simulate.persona import PersonaCaller
from api.simulate.promises import Promises
from api.simulate.scenario import Scenario
from api.simulate.script import model_of
from api.simulate.world import Tools
from api.wiring import AgentParts

_LONGEST = 20.0  # real seconds that one conversation may take
_LONGEST_LIVE = 600.0
_TOOLS_END = 60.0  # seconds that tools have after the call


@dataclass(frozen=True)
class Setup:
    """What scenarios are held with. settings: what the project is set to. secrets: what must not stand in a run file.
    live: makes the configured model, which is asked in place of the scenarios' own; judge: that which judges then;
    simulator: the model that plays callers."""

    project: Project
    settings: runs.RecordedSettings
    secrets: Sequence[str] = ()
    live: Callable[[], Models] | None = None
    judge: Callable[[], ModelJudge] | None = None
    simulator: Callable[[], StructuredModel] | None = None


@dataclass
class Result:
    """What came of a scenario. faults: in words, the cause first; none when it has passed. run: what was recorded of
    the conversation; None when nothing could be. judgement: what the judge found. usage: of live models, by role.
    about: the scenario's."""

    name: str
    conversation: Conversation
    faults: Sequence[str] = ()
    run: runs.RunFile | None = None
    judgement: Judgement = field(default_factory=Judgement)
    usage: Mapping[str, Usage] = field(default_factory=dict)
    about: str = ""

    @property
    def passed(self) -> bool:
        return not self.faults


def simulate(name: str, scenario: Scenario, setup: Setup, *, folder: Path) -> Result:
    """Hold it once. folder: where the scenario's file is."""
    call = _Call(name, scenario, setup, model_of(scenario, folder) if setup.live is None else None)
    faults = call.faults()
    judgement = Judgement() if call.broken_off else judged(scenario, call.conversation, setup.judge)
    usage = {"agent": call.agent_usage, "caller": call.caller_usage, "judge": judgement.usage}
    faults += judgement.faults
    return Result(name, call.conversation.settled(), faults, call.run, judgement, usage, scenario.about)


def run_file_of(result: Result, setup: Setup) -> runs.RunFile | None:
    """The conversation, to be replayed without a model."""
    return result.run and replay(runs.scrubbed(result.run, setup.secrets), setup.project).run


class _Call:
    """A scenario's call. model: the scripted one. broken_off: why it did not come to its end, in words."""

    def __init__(self, name: str, scenario: Scenario, setup: Setup, model: ScriptedModel | None) -> None:
        self.conversation = Conversation(name)
        self.run: runs.RunFile | None = None
        self.broken_off: list[str] = []
        self.agent_usage, self.caller_usage = Usage(), Usage()
        self._scenario, self._setup, self._model = scenario, setup, model
        self._played = scenario.persona if setup.simulator else None  # else the caller is scripted
        self._settings = setup.settings.model_copy(update={"today": scenario.world.date, "fallback": False})
        folder = setup.project.folder
        self._tools = Tools(
            scenario.world.tools, real=[name for name, tool in folder.tools.items() if options_of(tool).needs]
        )
        self._offline: Sequence[float] = ()

    def faults(self) -> list[str]:
        """Hold it; what is wrong with it, the cause first."""
        self.broken_off = list(self._hold())
        self.conversation.unexpected = list(self._unexpected())
        config = config_for(self._settings, self._setup.project)
        promises = Promises(self._setup.project.folder, config, self._settings.apology, self._scenario.expect)
        return [
            *self.broken_off,
            *promises.broken(self.conversation),
            *unmet(self._scenario.expect, self.conversation),
            *(self._unused() if not self.broken_off else ()),
        ]

    def _parts(self, project: Project) -> AgentParts:
        if self._setup.live is None:
            return parts_for(self._settings, project, self._model)
        models = in_real_time(self._setup.live())
        return AgentParts(project.folder, models, config_for(self._settings, project))

    def _hold(self) -> Iterator[str]:
        live = self._setup.live is not None
        longest = _LONGEST_LIVE if live else _LONGEST
        try:
            run_in_virtual_time(self._held(), longest=longest, online=live)
        except TimeoutError:
            yield f"The call was not over after {self._scenario.at_most:g} s, which at_most: allows."
        except TookTooLong:
            yield f"The call was not over after {longest:g} s of real time: something in it goes on without end."
        except NoStructuredAnswer as error:
            yield f"The caller could not be played: {error}"
        except Stalled:
            yield "The call stands still: everything waits, and nothing is going to happen."

    async def _held(self) -> None:
        loop, side, world = asyncio.get_running_loop(), CallerSide(self.conversation), self._scenario.world
        tools = SimulatedTools(self._tools.answer_of, side.language)
        self.conversation.performed = tools.performed
        project = replace(self._setup.project, folder=tools.in_place_of(self._setup.project.folder))
        parts = self._parts(project)
        settings = settings_for(world.platform)
        details = CallDetails(self.conversation.name, world.caller, world.metadata)
        async with (
            temporary_application(parts, settings=settings, now=loop.time, observers=[side]) as (app, agent, storage),
            in_process(app) as network,
        ):
            try:
                async with (
                    asyncio.timeout(self._scenario.at_most),
                    open_client(world.platform, network, settings, details) as client,
                ):
                    await self._called(side, client)
            finally:
                await agent.drain(_TOOLS_END)
                side.settle()
                if self._setup.live is not None:
                    self.agent_usage = side.usage()
                if run := await export_run(storage.database, self.conversation.name):
                    self.run = run.model_copy(update={"settings": self._settings})
                self._offline = loop.offline if isinstance(loop, VirtualTimeLoop) else ()

    async def _called(self, side: CallerSide, client: PlatformClient) -> None:
        if self._played is None or self._setup.simulator is None:
            await side.call(client, ScriptedCaller(self._scenario.caller))
            return
        model = self._setup.simulator()
        self.caller_usage = model.usage
        await model.closed_after(side.call(client, PersonaCaller(self._played, model)))

    def _unexpected(self) -> Iterator[tuple[str, str]]:
        """What the scenario has nothing for, by turn."""
        for at, call in self._tools.missing:
            yield self.conversation.turn_at(at), f"the scenario does not say under world: tools: what {call} returns"
        for at in dict.fromkeys(self._offline):
            real = [
                call.tool for call in self.conversation.performed if call.at <= at and self._tools.is_real(call.tool)
            ]
            words = "wanted to use the network, which a real one has not: write what it returns"
            yield self.conversation.turn_at(at), f"{real[-1] if real else 'something'} {words}"
        for turn in dict.fromkeys(self._model.asked_too_often if self._model else ()):
            yield turn, "the model was asked for more answers than there are under model:"

    def _unused(self) -> Iterator[str]:
        """What of the scenario came to nothing."""
        for step in () if self._played else self.conversation.unsaid:
            yield f"The call was over before this came: {step}."
        if left := len(self._model.script) if self._model else 0:
            yield f"{left} of the model's answers {'was' if left == 1 else 'were'} never asked for."
