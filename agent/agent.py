"""The agent: owns the model, the tools, the memory, and every running turn.

Order in a conversation: the newest turn wins. It interrupts the one before, waits for its clean end, then
begins. A request that came before is not run: it joins the running turn, or gets what was sent then.

Start: database, journal, tools, model. Stop (`async with` ends): no new turns, running ones are interrupted,
tools that finish on their own are waited for, the database is closed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, cast
from weakref import WeakValueDictionary

import httpx
from langchain_core.runnables import RunnableConfig

from agent.actions import Actions, Perform
from agent.failures import log_failure
from agent.graph import Context, Graph, State, build_graph
from agent.journal import Journal
from agent.memory import Memory
from agent.model import Models
from agent.tool_files import ToolFolder
from agent.transport import tls_context
from agent.turn import Asked, Turn

log = logging.getLogger(__name__)

PROMPT_FILE = Path(__file__).parent / "prompt.md"
_PATIENCE = 0.25  # seconds that an interrupted turn has for its end
_GRACE = 5.0  # seconds after its deadline in which a turn must have ended by itself
_NO_INPUT = cast(State, {"messages": []})  # what a turn begins with comes by its context


class Stopping(Exception):
    """No turn is begun any more: the agent is stopping."""


@dataclass(frozen=True)
class Habits:
    """How the agent converses. `prompt` may hold {today}. Times in seconds. `reload_tools`: read changed tool
    files before each turn, for development."""

    prompt: str = field(default_factory=lambda: PROMPT_FILE.read_text(encoding="utf-8"))
    welcome: str = ""
    turn_timeout: float = 60.0
    max_tool_steps: int = 8
    reload_tools: bool = False
    today: Callable[[], str] = lambda: f"{datetime.now().astimezone():%A, %-d %B %Y}"


class Agent:
    """Use `open_agent()`."""

    def __init__(
        self,
        graph: Graph,
        journal: Journal,
        actions: Actions,
        folder: ToolFolder,
        models: Models,
        habits: Habits,
        prune: Callable[[str], Awaitable[None]],
        observe: Callable[[Turn], object] | None = None,
    ) -> None:
        self._prune = prune
        self.folder = folder
        self.stopping = False
        self._graph = graph
        self._journal = journal
        self._actions = actions
        self._models = models
        self._habits = habits
        self._observe = observe or (lambda _: None)
        self._running: dict[tuple[str, str, str], Turn] = {}
        self._newest: dict[str, asyncio.Task[None]] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._turns: dict[asyncio.Task[None], Turn] = {}

    @property
    def open_turns(self) -> int:
        return len(self._turns)

    def begin(self, asked: Asked) -> Turn:
        """The turn for a request: a new one, or the running one if this is a duplicate. Read its `stream()`."""
        if self.stopping:
            raise Stopping
        turn = self._running.get(asked.key)
        if turn is None:
            turn = self._running[asked.key] = Turn(asked, timeout=self._habits.turn_timeout)
            task = asyncio.create_task(self._own(turn), name="turn")
            self._turns[task] = turn
            task.add_done_callback(self._turns.pop)
        return turn

    async def note(self, conversation_id: str, id_: str, kind: str, body: Any) -> None:
        """Keep data for the next turn (kind `data`), or what the platform says of a session (`ended`, `updated`)."""
        await self._journal.note(conversation_id, id_, kind, body)

    async def ready(self) -> None:
        """Raises when the database does not answer."""
        await self._journal.ping()

    async def drain(self, seconds: float) -> None:
        """Begin no more turns; give the running ones so long to end, then interrupt them."""
        self.stopping = True
        if self._turns:
            await asyncio.wait(self._turns, timeout=seconds)
        for turn in self._turns.values():
            if not turn.times_said:
                turn.say(self._models.apology)
        await asyncio.sleep(0)  # for the streams to take that
        for turn in list(self._turns.values()):
            turn.interrupt()
        if self._turns:
            await asyncio.wait(self._turns, timeout=2 * _PATIENCE)
        if self._actions.running and seconds:
            log.info("waiting for %d tools to finish", len(self._actions.running))
            await asyncio.wait(self._actions.running.values(), timeout=seconds)

    async def close(self) -> None:
        """End everything now. What a turn or a tool had begun is recovered from the journal at the next start."""
        await self.drain(seconds=0)
        await self._actions.abandon()
        for task in self._turns:
            task.cancel()
        if self._turns:
            await asyncio.wait(self._turns, timeout=2 * _PATIENCE)
        await self._models.close()

    async def _own(self, turn: Turn) -> None:
        """The task that a turn is: however it ends, the stream is closed."""
        asked = turn.asked
        try:
            sent_before = await self._journal.admit(asked)
            turn.admitted.set()
            if sent_before is None:
                async with self._alone(turn), asyncio.timeout_at(turn.deadline + _GRACE):
                    await self._converse(turn)
            else:
                turn.replay(sent_before)
        except Exception as error:  # noqa: BLE001 - the caller gets words, whatever it was
            turn.failed = True
            log_failure(log, "a turn failed", error)
            turn.say(self._models.apology)
        finally:
            turn.end()
            del self._running[asked.key]
            log.info(
                "turn: conversation=%r turn=%r kind=%s outcome=%s first_words_ms=%s ms=%d",
                asked.conversation_id, asked.turn_id, asked.kind, turn.outcome, turn.first_words_ms,
                (turn.now() - turn.began) * 1000,
            )  # fmt: skip
            self._observe(turn)

    @asynccontextmanager
    async def _alone(self, turn: Turn) -> AsyncIterator[None]:
        """Be the conversation's only turn: interrupt the one before and wait for its end.

        Two runs of one thread would lose one of them. An interrupted turn ends by itself; should it hang, it is
        cancelled, and what it had done is recovered from the journal as after a crash. One that is over, and only
        being entered in the journal, is not.
        """
        conversation, task = turn.asked.conversation_id, cast("asyncio.Task[None]", asyncio.current_task())
        before = self._newest.get(conversation)
        self._newest[conversation] = task
        watchdog = self._hurry(before) if before else None
        lock = self._locks.setdefault(conversation, asyncio.Lock())
        try:
            async with lock:
                yield
        finally:
            if watchdog:
                watchdog.cancel()
            if self._newest.get(conversation) is task:
                del self._newest[conversation]

    def _hurry(self, task: asyncio.Task[None]) -> asyncio.TimerHandle:
        turn = self._turns[task]
        turn.interrupt()
        return asyncio.get_running_loop().call_later(_PATIENCE, lambda: turn.ended or task.cancel())

    async def _converse(self, turn: Turn) -> None:
        if self._habits.reload_tools:
            for error in await asyncio.to_thread(self.folder.refresh):
                log.error("a tool file is broken, its last good tools stay: %s", error)
        at_work = self._actions.at_work(turn.asked.conversation_id)
        opening = await self._journal.opening(turn.asked, self._running.keys(), at_work)
        context = Context(
            turn=turn,
            opening=opening,
            tools=dict(self.folder.tools),
            models=self._models,
            actions=self._actions,
            prompt=self._habits.prompt.replace("{today}", self._habits.today()),
            welcome=self._habits.welcome,
            max_tool_steps=self._habits.max_tool_steps,
        )
        config: RunnableConfig = {
            "configurable": {"thread_id": turn.asked.conversation_id},
            "recursion_limit": 4 * self._habits.max_tool_steps + 10,
        }
        try:
            await self._graph.ainvoke(_NO_INPUT, config, context=context, durability="exit")
            turn.end()
            await self._journal.settle(turn.asked, opening)
            await self._journal.end(turn.asked, turn.sent, turn.outcome, turn.trace)
            await self._prune(turn.asked.conversation_id)
        except BaseException:
            await self._journal.leave(turn.asked, turn.sent)
            raise


@asynccontextmanager
async def open_agent(
    *,
    memory: Memory,
    folder: ToolFolder,
    models: Models,
    habits: Habits | None = None,
    perform: Perform | None = None,
    observe: Callable[[Turn], object] | None = None,
) -> AsyncIterator[Agent]:
    """An agent, ready to begin turns. `folder` has been loaded.

    perform: runs tool calls in place of the tools. observe: is given every turn once it is over and journalled.
    """
    async with httpx.AsyncClient(timeout=10, verify=tls_context()) as http:
        journal = Journal(memory.database)
        await journal.setup()
        await models.rehearse(list(folder.tools.values()))
        actions = Actions(journal, memory.database, http, perform)
        agent = Agent(
            build_graph(memory.saver), journal, actions, folder, models, habits or Habits(), memory.prune, observe
        )
        try:
            yield agent
        finally:
            await agent.close()
