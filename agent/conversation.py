"""A turn in its conversation: what the memory does not know yet is looked up, the graph is run, and what the turn
leaves is entered in the journal."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from langchain_core.messages import AnyMessage

from agent.config import Habits
from agent.failures import log_failure
from agent.graph import Context, Graph, run
from agent.llm.answer import Models
from agent.storage.entries import Admitted, Opening
from agent.storage.journal import Journal, Key
from agent.storage.open import Memory
from agent.storage.workers import Forgotten
from agent.summaries import Summaries
from agent.tooling.folder import ToolFolder
from agent.tooling.runner import Actions
from agent.turns.turn import Turn

log = logging.getLogger(__name__)


@dataclass
class Conversations:
    """Takes turns through their conversations. worker: this process's name. live: of a conversation, the turns that run
    in this process."""

    graph: Graph
    memory: Memory
    journal: Journal
    folder: ToolFolder
    models: Models
    actions: Actions
    habits: Habits
    summaries: Summaries
    worker: str
    live: Callable[[str], Collection[Key]]

    async def read_tools(self) -> None:
        """Read tool files that have changed, if the habits say so. What is newly wrong with them is logged."""
        if self.habits.reload_tools:
            for error in await asyncio.to_thread(self.folder.refresh):
                log.error("a tool file is broken, its last good tools stay: %s", error)

    async def converse(self, turn: Turn, entry: Admitted) -> list[AnyMessage]:
        """Run a turn that has its conversation for itself; the messages that it leaves. Forgotten when the
        conversation was deleted meanwhile."""
        asked = turn.asked
        opening = Opening() if entry.nothing_pending else await self._what_to_know(turn)
        await self.read_tools()
        messages = await run(self.graph, self._context(turn, opening), worker=self.worker)
        turn.end()
        await self.journal.settle(asked, opening)
        if turn.summary:
            await self.summaries.taken(asked, turn.summary)
        if not await self.journal.end(asked, turn.sent, turn.outcome, turn.trace):
            raise Forgotten
        try:
            await self.memory.prune(asked.conversation_id, turn.number)
        except Exception as error:  # noqa: BLE001 - the turn is over and remembered; the next one tries again
            log_failure(log, "old checkpoints could not be deleted", error)
        return messages

    async def _what_to_know(self, turn: Turn) -> Opening:
        conversation = turn.asked.conversation_id
        return await self.journal.opening(turn.asked, self.live(conversation), self.actions.at_work(conversation))

    def _context(self, turn: Turn, opening: Opening) -> Context:
        turn.late = [call.call for call in opening.late]
        turn.summary = self.summaries.taken_in(turn.asked, opening.summary)
        return Context(
            turn=turn,
            tools=dict(self.folder.tools),
            models=self.models,
            actions=self.actions,
            prompt=self.habits.prompt.replace("{today}", self.habits.today()),
            welcome=self.habits.welcome,
            max_tool_steps=self.habits.max_tool_steps,
            opening=replace(opening, summary=turn.summary),
        )
