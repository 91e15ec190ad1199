"""A turn in its conversation: it is admitted by the journal, waits until it is the conversation's only one, is taken
through the graph, and what it leaves is entered in the journal. Whatever fails meanwhile, the caller gets words."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

from langchain_core.messages import AnyMessage
from langchain_core.runnables import RunnableConfig

from agent.config import AgentConfig
from agent.failures import log_failure, logged
from agent.languages import own_line
from agent.llm import Models
from agent.memory import confirmation
from agent.state import Context, Graph
from agent.storage import (
    TURN,
    Admission,
    ConversationDeleted,
    Journal,
    PendingContext,
    SingleWorker,
    Storage,
    TurnTakenOver,
    erase,
    erase_turn,
)
from agent.summaries import Summaries
from agent.tooling import ToolFolder, ToolRunner, acts, offered, options_of
from agent.turns import OpenTurns, Turn, TurnQueue

log = logging.getLogger(__name__)

_SLACK = 1.0  # seconds beyond those for the first token, until the model must have been asked
_GRACE = 5.0  # seconds after its deadline in which a turn must have ended by itself
_LATE_TOOLS = 3.0  # seconds for the end of the tools that an earlier run of the turn has begun
_LOOK = 0.1  # seconds between two looks for that
_ELSEWHERE = 0.1  # seconds between two looks for the end of a turn that another worker runs


@dataclass
class Conversations:
    """Takes turns through their conversations."""

    graph: Graph
    storage: Storage
    journal: Journal
    folder: ToolFolder
    models: Models
    tool_runner: ToolRunner
    config: AgentConfig
    summaries: Summaries
    workers: SingleWorker
    turns: OpenTurns
    order: TurnQueue = field(default_factory=TurnQueue)

    async def run(self, turn: Turn) -> list[AnyMessage]:
        """From the request to the end of its stream. The messages that the turn leaves; none if it was not run here, or
        has failed."""
        task = asyncio.current_task()
        silence = asyncio.get_running_loop().call_later(
            self.models.first_token + _SLACK, lambda: self._break_silence(turn, task)
        )
        try:
            entry = await self._admitted(turn)
            if entry.elsewhere:
                turn.failed = True
                self.apologise(turn)
            elif entry.number is None:
                turn.replay(entry.sent)
            else:
                turn.number, turn.elsewhere = entry.number, False
                async with (
                    self.order.alone(turn),
                    self._left(turn),
                    asyncio.timeout_at(turn.deadline + _GRACE),
                    self.workers.turn(turn, is_oldest=entry.nothing_pending),
                ):
                    return await self.converse(turn, entry)
        except Exception as error:  # noqa: BLE001 - the caller gets words, whatever it was
            self._fail(turn, error)
        finally:
            silence.cancel()
            turn.end()
        return []

    def apologise(self, turn: Turn) -> None:
        turn.say(own_line(self.models.apology, turn.speaks))

    async def erase(self, turn: Turn) -> None:
        """Delete what a stateless turn has left."""
        with logged(log, "what a stateless turn has left could not be deleted"):
            await erase(self.storage, turn.request.conversation_id)

    async def read_tools(self) -> None:
        """Read tool files that have changed, if the configuration says so. What is newly wrong with them is logged."""
        if self.config.reload_tools:
            for error in await asyncio.to_thread(self.folder.refresh):
                log.error("a tool file is broken, its last good tools stay: %s", error)

    async def _admitted(self, turn: Turn) -> Admission:
        """What the journal says of it, and if another worker runs it, what it says at that one's end."""
        if turn.request.resume:
            async with self.order.admission(turn.request.conversation_id):
                await self.turns.until_earlier_runs_are_over(turn)
                entry = await self.journal.admit(turn.request)
        else:
            entry = await self.journal.admit(turn.request)
        turn.admit()
        turn.elsewhere = entry.elsewhere
        while entry.elsewhere and not turn.silenced and turn.now() < turn.deadline:
            await turn.sleep(_ELSEWHERE)
            entry = await self.journal.admit(turn.request, has_waited=True)
        return entry

    async def converse(self, turn: Turn, entry: Admission) -> list[AnyMessage]:
        """Run a turn that has its conversation for itself; the messages that it leaves. ConversationDeleted when the
        conversation was deleted meanwhile."""
        request = turn.request
        if entry.again:
            await self._until_its_tools_are_over(turn)
        pending_context = PendingContext() if entry.nothing_pending else await self._what_to_know(turn)
        await self.read_tools()
        messages = await self._run(self._context(turn, pending_context))
        turn.end()
        if not await self.journal.finish(turn, pending_context):
            raise ConversationDeleted
        with logged(log, "old checkpoints could not be deleted"):  # the next turn tries again
            await self.storage.prune(request.conversation_id, turn.number)
        return messages

    async def _until_its_tools_are_over(self, turn: Turn) -> None:
        """Those that an earlier run of it has begun; else the caller would only be told that they run."""
        running, until = self.tool_runner.running_calls, turn.now() + _LATE_TOOLS
        while turn.now() < until and not turn.interrupted:
            if not await self.journal.calls_at_work(turn.request, running(turn.request.conversation_id)):
                return
            await turn.sleep(_LOOK)

    async def _what_to_know(self, turn: Turn) -> PendingContext:
        conversation = turn.request.conversation_id
        return await self.journal.pending_context(
            turn.request, self.turns.live(conversation), self.tool_runner.running_calls(conversation)
        )

    async def _run(self, context: Context) -> list[AnyMessage]:
        """Run the graph, which writes the next checkpoint; the messages in it."""
        config: RunnableConfig = {
            "configurable": {
                "thread_id": context.turn.request.conversation_id,
                TURN: (context.turn, self.workers.name),
            },
            "recursion_limit": 4 * self.config.max_tool_steps + 10,
        }
        nothing_new: Any = {"messages": []}  # the saver has the state, and `listen` adds to it
        end = await self.graph.ainvoke(nothing_new, config, context=context, durability="exit", output_keys="messages")
        return cast(list[AnyMessage], end)

    def _prompt(self, instructions: str) -> str:
        prompt = self.config.prompt.replace("{today}", self.config.today())
        return f"{prompt}\n\n{instructions}" if instructions else prompt

    def _context(self, turn: Turn, pending_context: PendingContext) -> Context:
        turn.late = [call.call for call in pending_context.late]
        turn.summary = self.summaries.taken_in(turn.request, pending_context.summary)
        tools = offered(self.folder.tools, turn.request.abilities)
        if turn.request.stateless:  # nobody could tell a repeated request from a new one, or a yes from no question
            tools = {name: tool for name, tool in tools.items() if not acts(tool)}
        return Context(
            turn=turn,
            tools=tools,
            declared=confirmation.with_confirm(tools, any(options_of(tool).confirm for tool in tools.values())),
            actions={name for name, tool in tools.items() if acts(tool)},
            models=self.models,
            tool_runner=self.tool_runner,
            prompt=self._prompt(turn.request.instructions),
            config=self.config,
            pending_context=replace(pending_context, summary=turn.summary),
        )

    @asynccontextmanager
    async def _left(self, turn: Turn) -> AsyncIterator[None]:
        """Ends a turn that fails or is cancelled, first for its caller; the journal then keeps it for recovery."""
        request = turn.request
        try:
            yield
        except ConversationDeleted:
            turn.end()
            with logged(log, "a turn of a forgotten conversation could not be deleted"):
                await erase_turn(self.storage, request)
        except TurnTakenOver:
            log.warning("conversation=%r turn=%r is another worker's now", request.conversation_id, request.turn_id)
            turn.interrupt()
        except BaseException as error:
            if isinstance(error, Exception):
                self._fail(turn, error)
            await self.journal.leave(turn)
            if not isinstance(error, Exception):
                raise

    def _fail(self, turn: Turn, error: Exception) -> None:
        turn.failed = True
        log_failure(log, "a turn failed", error)
        self.apologise(turn)
        turn.end()

    def _break_silence(self, turn: Turn, task: asyncio.Task[Any] | None) -> None:
        """End a turn that was not admitted, or has not asked the model yet: the database does not answer."""
        under_way = turn.admitted.is_set() and (turn.elsewhere or turn.model_calls or turn.times_said)
        if not (turn.silenced or under_way) and task:
            self._fail(turn, TimeoutError())
            task.cancel()
