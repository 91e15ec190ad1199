"""Running a tool call: entered in the journal before it starts, in a task of its own, within its time.

The task outlives its turn when the caller interrupts and the tool's manners say `finish` or `protect`; its
result then waits in the journal for the next turn. The key of an action is its call: one that the journal
knows is answered from there and never run again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from langchain_core.messages import ToolMessage, message_to_dict
from langchain_core.tools import ToolException

from agent.failures import log_failure
from agent.json_values import plain, unbroken
from agent.observer import Observer
from agent.storage.journal import Journal
from agent.storage.open import Memory
from agent.storage.results import GIVEN_UP, NOT_STARTED, STILL_RUNNING, STOPPED, result_of
from agent.storage.workers import Forgotten
from agent.tooling.call import Action, Outcome, Run, fault_in
from agent.tooling.decorator import ToolContext, use_context
from agent.tooling.sandbox import NotStarted
from agent.turns.turn import ToolRun, Turn

log = logging.getLogger(__name__)

_LONGEST_RESULT = 8_000  # characters
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


Perform = Callable[[Run], Awaitable[Outcome]]


class Actions:
    """Runs tool calls. `running`: those at work, by (conversation, key); they may outlive their turn.

    perform: instead of calling the tool; replay answers from a recording.
    patience: seconds for the journal, while the caller hears nothing.
    """

    def __init__(
        self,
        journal: Journal,
        memory: Memory,
        http: httpx.AsyncClient,
        perform: Perform | None = None,
        observer: Observer | None = None,
        *,
        patience: float = 5.0,
    ) -> None:
        self._patience = patience
        self._observer = observer or Observer()
        self._journal = journal
        self._database = memory.database
        self._http = http
        self.running: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._perform = perform or self._call
        self._abandoning = False

    def at_work(self, conversation: str) -> set[str]:
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

    async def run(self, turn: Turn, action: Action) -> ToolMessage:
        """The answer to a call, in words for the model. Never raises for the tool's sake."""
        if turn.interrupted:
            return action.answer(NOT_STARTED, failed=True)
        if fault := fault_in(action.tool, action.arguments):
            return action.answer(fault, failed=True)
        try:
            async with asyncio.timeout(self._patience):
                entry = await self._journal.start_call(
                    turn.asked,
                    action.key,
                    action.answers,
                    action.tool.name,
                    action.arguments,
                    message_to_dict(action.message),
                )
        except Forgotten:
            return action.answer(_FORGOTTEN.format(name=action.tool.name), failed=True)
        except TimeoutError:
            return action.answer(_NOT_ENTERED.format(name=action.tool.name), failed=True)
        if entry:
            return action.answer(result_of(entry), failed=entry.state != "finished")
        run = Run(action, turn, ToolRun(action.tool.name, action.arguments, turn.now()))
        turn.tools.append(run.seen)
        self._observer.tool_began(turn, run.seen)
        self._announce(run)
        key = turn.asked.conversation_id, action.key
        task = self.running[key] = asyncio.create_task(self._work(run), name=f"tool {action.tool.name}")
        task.add_done_callback(lambda _: self.running.pop(key))
        try:
            await self._until_over(run, task)
        finally:
            run.seen.late = run.outcome is None
        if run.outcome is None:
            return action.answer(STILL_RUNNING)
        await asyncio.wait([task], timeout=self._patience)  # it is being entered in the journal
        return action.answer(run.outcome.text, failed=run.outcome.failed)

    def _announce(self, run: Run) -> None:
        """A line before a silence: not needed when the model has just said what it is about to do."""
        if run.action.manners.say and not run.action.message.text.strip():
            run.turn.progress(run.action.fill(run.action.manners.say))
        run.report("started")

    async def _until_over(self, run: Run, task: asyncio.Task[None]) -> None:
        """Wait for a tool's end, or as long as the turn and the tool's manners allow."""
        action, manners, turn = run.action, run.action.manners, run.turn
        loop = asyncio.get_running_loop()
        slow = action.fill(manners.slow or "")
        timer = loop.call_later(manners.slow_after, run.say_slow, slow, turn.times_said) if slow else None
        try:
            async with asyncio.timeout_at(turn.deadline) as scope:
                with turn.stoppable(scope):
                    await asyncio.wait([task])
        except TimeoutError:
            pass
        finally:
            if timer:
                timer.cancel()
        if run.outcome is None and manners.on_barge_in == "cancel":
            task.cancel()
            await asyncio.wait([task], timeout=_CLEAN_UP)

    async def _work(self, run: Run) -> None:
        action = run.action
        try:
            outcome = await self._perform(run)
        except asyncio.CancelledError:
            if self._abandoning:
                raise
            stopped = STOPPED if run.turn.interrupted else GIVEN_UP
            outcome = Outcome(stopped.format(name=action.tool.name), failed=True, ended="stopped")
        ms = run.ms()
        run.end(outcome)
        self._observer.tool_over(run.turn, run.seen)
        run.report("failed" if outcome.failed else "finished")
        told = not run.seen.late
        try:
            await self._journal.end_call(
                run.turn.asked, action.key, failed=outcome.failed, result=outcome.text, told=told,
                did=run.did, ms=ms, said=run.said if action.manners.on_barge_in == "protect" else (),
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - nobody awaits this task; the journal goes on saying `started`
            log_failure(log, "the end of a tool call could not be journalled", error)

    async def _call(self, run: Run) -> Outcome:
        """Run the tool within its time; whatever goes wrong becomes words for the model."""
        action, manners = run.action, run.action.manners
        reads = manners.on_barge_in == "cancel"
        call = {"name": action.tool.name, "args": action.arguments, "id": action.answers, "type": "tool_call"}
        try:
            async with asyncio.timeout(manners.timeout) as limit:
                with use_context(self._context(run)):
                    answer = await action.tool.ainvoke(call)
        except TimeoutError as error:
            if limit.expired():
                text = _READ_LATE if reads else _ACTION_LATE
                told = text.format(name=action.tool.name, seconds=manners.timeout)
                return Outcome(told, failed=True, ended="timed out")
            return self._failed(action, error, reads)
        except ToolException as error:
            return Outcome(unbroken(str(error)[:_LONGEST_RESULT]), failed=True)
        except NotStarted:
            return Outcome(_NOT_STARTED.format(name=action.tool.name), failed=True, ended="not started")
        except BaseException as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task and task.cancelling():
                raise
            return self._failed(action, error, reads)
        text = answer.text if isinstance(answer, ToolMessage) else str(answer)
        failed = isinstance(answer, ToolMessage) and answer.status == "error"
        return Outcome(unbroken("" if text == "null" else text[:_LONGEST_RESULT]) or "Done.", failed)

    def _failed(self, action: Action, error: BaseException, reads: bool) -> Outcome:
        log_failure(log, f"tool {action.tool.name} failed", error)
        return Outcome((_READ_FAILED if reads else _ACTION_FAILED).format(name=action.tool.name), failed=True)

    def _context(self, run: Run) -> ToolContext:
        asked = run.turn.asked
        return ToolContext(
            call_id=f"{asked.conversation_id}:{run.action.key}",
            conversation_id=asked.conversation_id,
            caller=asked.caller,
            metadata=asked.metadata,
            http=self._http,
            database=self._database,
            say=_in_loop(run.say, str),
            show=_in_loop(run.show, plain),
        )


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
