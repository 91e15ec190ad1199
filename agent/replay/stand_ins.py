"""Standing in for what a recording holds: the model's answers, the tools' results, at the times they came.

Everything else is real: the graph, speech, journal and history do their work again, in virtual time. As they take
none of it, a replay is a little ahead of the recording. So what an interruption cut short, or came before, waits
for that interruption, and what a later turn was told of need not wait for its time then: the order of things is the
recording's.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import Field

from agent.replay import run_file as runs
from agent.tooling import ToolCall, ToolResult, ToolRun, recorded_outcome
from agent.turns import CallControl, Observer, Turn, chunk_from

_AFTER = 0.1  # ms by which a model ends later in a turn that was interrupted: an interruption at its end comes first


class Unexpected(Exception):
    """The model was asked, or a tool called, where the recording has nothing."""


class RecordedError(ConnectionError):
    """The model failed here in the recording. How is not recorded: for the circuit breaker it was down."""


class _Given(BaseChatModel):
    """A model whose answers are given: chunk by chunk, at their times."""

    @property
    def _llm_type(self) -> str:
        return "given"

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], **kwargs: Any
    ) -> Runnable[Any, AIMessage]:
        return self.bind(**kwargs)

    def next_answer(self, messages: Sequence[BaseMessage]) -> runs.RecordedModelCall:
        """The answer to what is asked now. Unexpected when there is none."""
        raise NotImplementedError

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        raise NotImplementedError("answers are streamed")

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        answer, until = self.next_answer(messages), _Clock()
        for chunk in answer.chunks:
            await until.ms(chunk[0])
            yield ChatGenerationChunk(message=chunk_from(chunk, answer.common))
        if answer.ended == "left":
            await asyncio.Event().wait()
        await until.ms(answer.ms)
        if answer.ended != "complete":
            raise RecordedError(answer.ended)


class Progress(Observer):
    """How far the replay is. begun: by turn, set once it has asked the model, or is over. over: those turns."""

    def __init__(self) -> None:
        self.begun: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.over: dict[str, Turn] = {}

    def turn_over(self, turn: Turn) -> None:
        self.over.setdefault(turn.request.turn_id, turn)  # the same again is told what was sent then
        self.begun[turn.request.turn_id].set()


class RecordedModel(_Given):
    """Gives the recorded answers of each turn, in order. `answers`: by turn. interrupted: the turns that were."""

    answers: dict[str, deque[runs.RecordedModelCall]]
    interrupted: Collection[str] = ()
    progress: Progress

    def next_answer(self, messages: Sequence[BaseMessage]) -> runs.RecordedModelCall:
        turn = _turn_of(messages)
        self.progress.begun[turn].set()
        if self.answers.get(turn):
            answer = self.answers[turn].popleft()
            return answer.model_copy(update={"ms": answer.ms + _AFTER}) if turn in self.interrupted else answer
        if turn in self.interrupted:
            return runs.RecordedModelCall(ended="left")
        raise Unexpected("the model")


class ScriptedModel(_Given):
    """Gives the answers of a script, in order. asked_too_often: the turns in which it had none left."""

    script: deque[runs.RecordedModelCall]
    asked_too_often: list[str] = Field(default_factory=list)

    def next_answer(self, messages: Sequence[BaseMessage]) -> runs.RecordedModelCall:
        if not self.script:
            self.asked_too_often.append(_turn_of(messages))
            raise Unexpected("the model")
        return self.script.popleft()


def _turn_of(messages: Sequence[BaseMessage]) -> str:
    """The id of the turn that asks."""
    asked = next((m.id for m in reversed(messages) if isinstance(m, HumanMessage) and m.id), "")
    return asked.partition(":")[2]


class RecordedTools:
    """Gives the recorded result of each call, after the recorded time, saying and showing what it did then; or as soon
    as a later turn is to begin that was told of it.

    ran: the key of every call that was run.
    """

    def __init__(self, turns: Sequence[runs.RecordedTurn], progress: Progress) -> None:
        self._calls = {call.key: call for turn in turns for call in turn.tools}
        self._checks = {key: outcome for turn in turns for key, outcome in turn.checks.items()}
        self._turns = {turn.webhook["turn_id"] for turn in turns}
        self._due = {call.told: asyncio.Event() for call in self._calls.values() if call.late and call.told}
        self._progress = progress
        self.ran: list[str] = []

    async def perform(self, run: ToolRun) -> ToolResult:
        self.ran.append(run.tool_call.key)
        call = self._calls.get(run.tool_call.key)
        if call is None:
            return ToolResult("This call is not in the recording.", failed=True)
        due = self._due.get(call.told) if call.late else None
        until = _Clock(due)
        for ms, kind, value in call.did:
            await until.ms(ms)
            if due and due.is_set():
                await run.turn.sleep(math.inf)  # what is not done by now was not heard
            match kind:
                case "say":
                    run.say(value)
                case "show":
                    run.show(value)
                case "control":
                    run.control(CallControl(**value))
        if call.late:
            await run.turn.sleep(math.inf)
        if call.after in self._turns:
            await self._progress.begun[call.after].wait()
        if call.ended in ("stopped", "unknown"):
            await asyncio.Event().wait()
        await until.ms(call.ms)
        return ToolResult(call.result, failed=call.ended == "failed")

    async def check(self, turn: Turn, tool_call: ToolCall) -> Mapping[str, Any] | None:
        """What came of it then."""
        if outcome := self._checks.get(tool_call.key):
            turn.checks[tool_call.key] = outcome
        return recorded_outcome(outcome)

    async def end_before(self, turn: str) -> None:
        """A turn is to begin: the calls that it was told of may end."""
        if due := self._due.get(turn):
            due.set()
            await asyncio.sleep(0.0001)


class _Clock:
    """due: when it is set, it is late enough."""

    def __init__(self, due: asyncio.Event | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._due = due

    async def ms(self, ms: float) -> None:
        """Wait until so many ms after this clock was made."""
        seconds = max(0.0, self._began + ms / 1000 - self._loop.time())
        if self._due is None:
            await asyncio.sleep(seconds)
        else:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), seconds)
