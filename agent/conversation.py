"""A turn in its conversation: what the memory does not know yet is looked up, the graph is run, and what the turn
leaves is entered in the journal."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, cast

from langchain_core.messages import AnyMessage
from langchain_core.runnables import RunnableConfig

from agent.config import AgentConfig
from agent.failures import logged
from agent.graph import Context, Graph
from agent.llm import Models
from agent.memory import confirmation
from agent.storage import TURN, Admission, ConversationDeleted, Journal, Key, PendingContext, Storage
from agent.summaries import Summaries
from agent.tooling import ToolFolder, ToolRunner, acts, offered, options_of
from agent.turns import Turn

log = logging.getLogger(__name__)


@dataclass
class Conversations:
    """Takes turns through their conversations. worker: this process's name. live: of a conversation, the turns that run
    in this process."""

    graph: Graph
    storage: Storage
    journal: Journal
    folder: ToolFolder
    models: Models
    tool_runner: ToolRunner
    config: AgentConfig
    summaries: Summaries
    worker: str
    live: Callable[[str], Collection[Key]]

    async def read_tools(self) -> None:
        """Read tool files that have changed, if the configuration says so. What is newly wrong with them is logged."""
        if self.config.reload_tools:
            for error in await asyncio.to_thread(self.folder.refresh):
                log.error("a tool file is broken, its last good tools stay: %s", error)

    async def converse(self, turn: Turn, entry: Admission) -> list[AnyMessage]:
        """Run a turn that has its conversation for itself; the messages that it leaves. ConversationDeleted when the
        conversation was deleted meanwhile."""
        request = turn.request
        pending_context = PendingContext() if entry.nothing_pending else await self._what_to_know(turn)
        await self.read_tools()
        messages = await self._run(self._context(turn, pending_context))
        turn.end()
        if not await self.journal.finish(turn, pending_context):
            raise ConversationDeleted
        with logged(log, "old checkpoints could not be deleted"):  # the next turn tries again
            await self.storage.prune(request.conversation_id, turn.number)
        return messages

    async def _what_to_know(self, turn: Turn) -> PendingContext:
        conversation = turn.request.conversation_id
        return await self.journal.pending_context(
            turn.request, self.live(conversation), self.tool_runner.running_calls(conversation)
        )

    async def _run(self, context: Context) -> list[AnyMessage]:
        """Run the graph, which writes the next checkpoint; the messages in it."""
        config: RunnableConfig = {
            "configurable": {"thread_id": context.turn.request.conversation_id, TURN: (context.turn, self.worker)},
            "recursion_limit": 4 * context.max_tool_steps + 10,
        }
        nothing_new: Any = {"messages": []}  # the saver has the state, and `listen` adds to it
        end = await self.graph.ainvoke(nothing_new, config, context=context, durability="exit")
        return cast(list[AnyMessage], end["messages"])

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
            welcome=self.config.welcome,
            welcome_back=self.config.welcome_back,
            max_tool_steps=self.config.max_tool_steps,
            pending_context=replace(pending_context, summary=turn.summary),
        )
