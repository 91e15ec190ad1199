"""Running a tool call: entered in the journal before it starts, in a task of its own, within its time.

The task outlives its turn when the caller interrupts and the tool's options say `finish` or `protect`; its
result then waits in the journal for the next turn. The key of an action is its call: one that the journal
knows is answered from there and never run again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import httpx
from langchain_core.messages import ToolMessage, message_to_dict
from langchain_core.tools import ToolException

from agent.failures import log_failure, logged
from agent.json_values import to_json
from agent.storage import (
    GIVEN_UP,
    NOT_STARTED,
    STILL_RUNNING,
    STOPPED,
    TWINS,
    ConversationDeleted,
    Journal,
    Storage,
    result_of,
)
from agent.tooling.call import ToolCall, ToolResult, ToolRun, fault_in
from agent.tooling.check import check_call
from agent.tooling.decorator import ToolContext, acts, use_context
from agent.tooling.results import NotAResult, shortened, text_of
from agent.tooling.sandbox import ToolNotStarted
from agent.tooling.waiting import WaitingLines
from agent.turns import CallControl, Observer, ToolCallStatus, Turn, e164

log = logging.getLogger(__name__)

_CLEAN_UP = 0.1  # seconds that a cancelled tool has for its end; then it is not waited for
_ACTION_FAILED = "{name} failed for a technical reason. It is not certain whether it took effect."
_READ_FAILED = "{name} failed for a technical reason and has no result."
_ACTION_LATE = "{name} did not answer within {seconds:g} seconds. It is unknown whether it took effect."
_READ_LATE = "{name} did not answer within {seconds:g} seconds and has no result."
_NOT_STARTED = "{name} was not started: too many are running at once. Nothing was done; it may be tried again."
_FORGOTTEN = (
    "{name} was not started: all that is kept of this conversation was deleted at this moment. Nothing was done; the"
    " caller may ask for it once more."
)
_NOT_ENTERED = (
    "{name} was not started: a part of this system does not answer at the moment. Nothing was done; it may be tried"
    " again in a minute."
)


Perform = Callable[[ToolRun], Awaitable[ToolResult]]
PerformCheck = Callable[[Turn, ToolCall], Awaitable[Mapping[str, Any] | None]]


class ToolRunner:
    """Runs tool calls. `running`: those at work, by (conversation, key); they may outlive their turn.

    perform: instead of calling the tool; replay answers from a recording. perform_check: the same for its check, of
    which there is none when only `perform` is given.
    patience: seconds for the journal, while the caller hears nothing.
    hold: seconds from a turn's beginning during which nothing that changes something is run, if its request may be a
        guess (`TurnRequest.place`): one that is dropped in that time was none that was meant.
    """

    def __init__(
        self,
        journal: Journal,
        storage: Storage,
        http: httpx.AsyncClient,
        observer: Observer,
        *,
        perform: Perform | None,
        perform_check: PerformCheck | None,
        patience: float,
        hold: float,
    ) -> None:
        self._hold = hold
        self._patience = patience
        self._observer = observer
        self._journal = journal
        self._database = storage.database
        self._http = http
        self.running: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._perform = perform or self._call
        self._perform_check = perform_check or (_no_check if perform else self._check)
        self._abandoning = False
        self._announced: WeakKeyDictionary[Turn, str | None] = WeakKeyDictionary()  # a turn's last announced message

    def running_calls(self, conversation: str) -> set[str]:
        """The keys of a conversation's calls that are running now."""
        return {key for owner, key in self.running if owner == conversation}

    async def abandon(self) -> None:
        """Cancel what still runs, as the process ends. Nothing is entered: the journal goes on saying `started`,
        and whether it happened is unknown to whoever reads that next."""
        self._abandoning = True
        for task in self.running.values():
            task.cancel()
        if self.running:
            log.warning("%d tools were still running", len(self.running))
            await asyncio.wait(self.running.values(), timeout=_CLEAN_UP)

    async def check(self, turn: Turn, tool_call: ToolCall) -> Mapping[str, Any] | None:
        """What a tool puts in place of a call's arguments before it is run. Refused when it is not to be run."""
        return await self._perform_check(turn, tool_call)

    async def run(self, turn: Turn, tool_call: ToolCall) -> ToolMessage:
        """The answer to a call, in words for the model. Never raises for the tool's sake."""
        if turn.interrupted:
            return tool_call.answer(NOT_STARTED, failed=True, marker="not started")
        if fault := fault_in(tool_call.tool, tool_call.arguments):
            return tool_call.answer(fault, failed=True)
        if turn.request.place and acts(tool_call.tool):
            await turn.sleep(turn.began + self._hold - turn.now())
            if turn.interrupted:
                return tool_call.answer(NOT_STARTED, failed=True, marker="not started")
        try:
            async with asyncio.timeout(self._patience):
                entry = await self._journal.start_call(
                    turn.request,
                    tool_call.key,
                    tool_call.answers,
                    tool_call.tool.name,
                    tool_call.arguments,
                    {**message_to_dict(tool_call.message), TWINS: [*tool_call.twins]},
                )
        except ConversationDeleted:
            return tool_call.answer(_FORGOTTEN.format(name=tool_call.tool.name), failed=True)
        except TimeoutError:
            return tool_call.answer(_NOT_ENTERED.format(name=tool_call.tool.name), failed=True)
        if entry:
            text, marker = result_of(entry)
            return tool_call.answer(text, failed=entry.state != "finished", marker=marker)
        run = ToolRun(tool_call, turn, ToolCallStatus(tool_call.tool.name, tool_call.arguments, turn.now()))
        turn.tools.append(run.status)
        self._observer.tool_began(turn, run.status)
        self._announce(run)
        key = turn.request.conversation_id, tool_call.key
        task = self.running[key] = asyncio.create_task(self._work(run), name=f"tool {tool_call.tool.name}")
        task.add_done_callback(lambda _: self.running.pop(key))
        try:
            await self._until_over(run, task)
        finally:
            run.status.late = run.outcome is None
        if run.outcome is None:
            return tool_call.answer(STILL_RUNNING, marker="running")
        await asyncio.wait([task], timeout=self._patience)  # it is being entered in the journal
        return tool_call.answer(run.outcome.text, failed=run.outcome.failed, marker=run.outcome.ended)

    def _announce(self, run: ToolRun) -> None:
        """A line before a silence: not needed when the model has just said what it is about to do. One is enough for
        the calls that begin together."""
        message, line = run.tool_call.message, run.tool_call.options.say
        if line and not message.text.strip() and self._announced.get(run.turn) != message.id:
            run.turn.progress(run.tool_call.fill(line, run.turn.speaks))
            self._announced[run.turn] = message.id
        run.report("started")

    async def _until_over(self, run: ToolRun, task: asyncio.Task[None]) -> None:
        """Wait for a tool's end, or as long as the turn and the tool's options allow."""
        options, turn = run.tool_call.options, run.turn
        lines = WaitingLines(run)
        lines.start()
        try:
            async with asyncio.timeout_at(turn.deadline) as scope:
                with turn.stoppable(scope):
                    await asyncio.wait([task])
        except TimeoutError:
            pass
        finally:
            lines.close()
        if run.outcome is None and options.on_barge_in == "cancel":
            task.cancel()
            await asyncio.wait([task], timeout=_CLEAN_UP)

    async def _work(self, run: ToolRun) -> None:
        tool_call = run.tool_call
        try:
            outcome = await self._perform(run)
        except asyncio.CancelledError:
            if self._abandoning:
                raise
            stopped = STOPPED if run.turn.interrupted else GIVEN_UP
            outcome = ToolResult(stopped.format(name=tool_call.tool.name), failed=True, ended="stopped")
        ms = run.ms()
        run.end(outcome)
        self._observer.tool_over(run.turn, run.status)
        run.report("failed" if outcome.failed else "finished")
        reported = not run.status.late
        unspoken = run.unspoken if tool_call.options.on_barge_in == "protect" else ()
        with logged(log, "the end of a tool call could not be journalled"):  # it remains `started` there
            await self._journal.end_call(
                run.turn.request, tool_call.key, state=outcome.state, result=outcome.text, reported=reported,
                progress=run.progress, ms=ms, unspoken=unspoken,
            )  # fmt: skip

    async def _call(self, run: ToolRun) -> ToolResult:
        """Run the tool within its time; whatever goes wrong becomes words for the model."""
        tool_call, options = run.tool_call, run.tool_call.options
        reads = options.on_barge_in == "cancel"
        try:
            async with asyncio.timeout(options.timeout) as limit:
                with use_context(self._context(run.turn, tool_call, run.say, run.show, run.control)):
                    answer = await tool_call.tool.arun({**tool_call.arguments})
            return ToolResult(text_of(answer), failed=isinstance(answer, ToolMessage) and answer.status == "error")
        except TimeoutError as error:
            if limit.expired():
                text = _READ_LATE if reads else _ACTION_LATE
                reported = text.format(name=tool_call.tool.name, seconds=options.timeout)
                return ToolResult(reported, failed=True, ended="timed out")
            return self._failed(tool_call, error, reads)
        except ToolException as error:
            return ToolResult(shortened(str(error)), failed=True)
        except ToolNotStarted:
            return ToolResult(_NOT_STARTED.format(name=tool_call.tool.name), failed=True, ended="not started")
        except NotAResult as error:
            log.error("%s: %s", tool_call.tool.name, error)
            return self._failed(tool_call, error, reads)
        except BaseException as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task and task.cancelling():
                raise
            return self._failed(tool_call, error, reads)

    def _failed(self, tool_call: ToolCall, error: BaseException, reads: bool) -> ToolResult:
        log_failure(log, f"tool {tool_call.tool.name} failed", error)
        return ToolResult((_READ_FAILED if reads else _ACTION_FAILED).format(name=tool_call.tool.name), failed=True)

    async def _check(self, turn: Turn, tool_call: ToolCall) -> Mapping[str, Any] | None:
        return await check_call(turn, tool_call, self._context(turn, tool_call, *3 * [_not_in_a_check]))

    def _context(
        self,
        turn: Turn,
        tool_call: ToolCall,
        say: Callable[[str], None],
        show: Callable[[Any], None],
        control: Callable[[CallControl], None],
    ) -> ToolContext:
        request = turn.request
        return ToolContext(
            call_id=f"{request.conversation_id}:{tool_call.key}",
            conversation_id=request.conversation_id,
            caller=e164(request.caller),
            metadata=request.metadata,
            http=self._http,
            database=self._database,
            say=_in_loop(say, str),
            show=_in_loop(show, to_json),
            control=_in_loop(control, lambda control: control),
            abilities=request.abilities,
        )


async def _no_check(_: Turn, __: ToolCall) -> None:
    return None


def _not_in_a_check(_: Any) -> None:
    raise RuntimeError("say() and show() are for the tool itself, not for its check")


def _in_loop(function: Callable[[Any], None], prepare: Callable[[Any], Any]) -> Callable[[Any], None]:
    """The function, callable from a sync tool's thread too; there the value is copied before it is handed over."""
    loop = asyncio.get_running_loop()

    def call(value: Any) -> None:
        try:
            here = asyncio.get_running_loop() is loop
        except RuntimeError:
            here = False
        if here:
            function(value)
        else:
            loop.call_soon_threadsafe(function, prepare(value))

    return call
