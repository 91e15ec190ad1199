"""A turn in its conversation: what it must know is found out, the graph is run, what it leaves is entered.

As a rule a turn must know nothing but the state that the last one has left, and that is at hand (the storage).
Then, where this process is alone on its database, the model is asked while the turn is being admitted. Nothing of that
can be heard before the journal has the turn, and no tool is run; should the journal know more, the request is dropped,
and all that came of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.messages import AnyMessage

from agent.config import Habits
from agent.failures import log_failure
from agent.graph import Context, Graph, abandon, begin_thinking, is_traced, listen, run
from agent.llm.answer import Models
from agent.memory.history import human_id
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

    def __post_init__(self) -> None:
        self._newest = self.memory.newest
        self._traced = is_traced()

    async def read_tools(self) -> None:
        """Read tool files that have changed, if the habits say so. What is newly wrong with them is logged."""
        if self.habits.reload_tools:
            for error in await asyncio.to_thread(self.folder.refresh):
                log.error("a tool file is broken, its last good tools stay: %s", error)

    def think_ahead(self, turn: Turn) -> Context | None:
        """Begin to think before a turn is admitted, where it must know nothing but what is at hand, as far as this
        process can tell. Beside others it cannot, and a request for nothing has its price."""
        kept = self._newest.of(turn.asked.conversation_id)
        if kept is None or not kept.settled or kept.news or not turn.undisturbed or turn.asked.heard:
            return None
        if self.memory.shared or self.habits.reload_tools or self._traced or _is_in(turn, kept.state):
            return None
        context = self._context(turn, Opening(checkpoint=kept.checkpoint), kept.state)
        begin_thinking(context)
        if context.thinking:
            kept.settled = False  # until a turn has come to its end
        return context

    async def go_on(self, turn: Turn, entry: Admitted, ahead: Context | None) -> Context | None:
        """What was begun ahead, now that the turn is admitted; unless there is more to know: then it is undone."""
        as_supposed = entry.quiet and turn.undisturbed and not turn.interrupted
        if ahead is None or (as_supposed and ahead.checkpoint == entry.checkpoint):
            return ahead
        await abandon(ahead)
        turn.begin_again()
        return None

    async def converse(self, turn: Turn, entry: Admitted, ahead: Context | None) -> list[AnyMessage]:
        """Run a turn that has its conversation for itself; the messages that it leaves. Forgotten when the
        conversation was deleted meanwhile."""
        asked, opening, context = turn.asked, Opening(), ahead
        if context is None:
            opening, state = await self._what_to_know(turn, entry)
            await self.read_tools()
            context = self._context(turn, opening, state)
        messages = await run(self.graph, context, worker=self.worker, traced=self._traced)
        turn.end()
        await self.journal.settle(asked, opening)
        if turn.summary:
            await self.summaries.taken(asked, turn.summary)
        if not await self.journal.end(asked, turn.sent, turn.outcome, turn.trace):
            raise Forgotten
        if turn.outcome == "answered" and not self.actions.at_work(asked.conversation_id):
            self._newest.settled(asked.conversation_id)
        try:
            await self.memory.prune(asked.conversation_id, turn.number)
        except Exception as error:  # noqa: BLE001 - the turn is over and remembered; the next one tries again
            log_failure(log, "old checkpoints could not be deleted", error)
        return messages

    async def _what_to_know(self, turn: Turn, entry: Admitted) -> tuple[Opening, Mapping[str, Any]]:
        conversation, opening = turn.asked.conversation_id, Opening(checkpoint=entry.checkpoint)
        self._newest.told(conversation)
        if not (entry.quiet and turn.undisturbed):
            at_work = self.actions.at_work(conversation)
            opening = await self.journal.opening(turn.asked, self.live(conversation), at_work)
        kept = self._newest.of(conversation)
        if kept and kept.checkpoint == opening.checkpoint:
            return opening, kept.state
        return opening, await self.memory.state(conversation) if opening.checkpoint else {}

    def _context(self, turn: Turn, opening: Opening, state: Mapping[str, Any]) -> Context:
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
            state=listen(turn, replace(opening, summary=turn.summary), state),
            checkpoint=opening.checkpoint,
        )


def _is_in(turn: Turn, state: Mapping[str, Any]) -> bool:
    """Whether the turn has been there before: it is a duplicate."""
    return any(message.id == human_id(turn.asked) for message in state.get("messages", ()))
