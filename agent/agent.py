"""The agent: owns the model, the tools, the memory, and every running turn.

In a conversation the newest turn wins: it interrupts the one before, waits for its clean end, then begins. A
request that came before is not run: it joins the running turn, or gets what was sent then.

Start: database, journal, tools, model. Stop (`async with` ends): no new turns, running ones are interrupted,
tools that finish on their own are waited for, summaries are dropped, the database is closed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

from agent.calls import Calls, CallTimes
from agent.config import AgentConfig
from agent.conversation import Conversations
from agent.graph import build_graph
from agent.llm import Models
from agent.storage import Journal, LastTurn, Storage, open_workers
from agent.summaries import Summaries
from agent.tls import tls_context
from agent.tooling import Perform, PerformCheck, ToolFolder, ToolRunner
from agent.turns import (
    PATIENCE,
    ConcurrencyLimit,
    HeardReport,
    Observer,
    Observers,
    OpenTurns,
    Summary,
    Turn,
    TurnRequest,
)

log = logging.getLogger(__name__)

_QUEUE = 50  # turns that may wait a moment for a place
_NOTES_AT_ONCE = 20
_NOTES_WAITING = 500


class Stopping(Exception):
    """No turn is begun any more: the agent is stopping."""


class Agent:
    """Use `open_agent()`. calls: what platforms tell of the calls that they carry."""

    def __init__(self, conversations: Conversations, calls: Calls, observer: Observer) -> None:
        self.calls = calls
        self.folder = conversations.folder
        self.stopping = False
        self._conversations = conversations
        self._turns = conversations.turns
        self._journal = conversations.journal
        self._tool_runner = conversations.tool_runner
        self._models = conversations.models
        self._config = conversations.config
        self._summaries = conversations.summaries
        self._observer = observer
        self._room = ConcurrencyLimit(self._config.max_turns, _QUEUE)
        self._note_room = ConcurrencyLimit(_NOTES_AT_ONCE, _NOTES_WAITING)

    @property
    def open_turns(self) -> int:
        return len(self._turns)

    async def begin(self, request: TurnRequest) -> Turn:
        """The turn for a request: a new one, or the running one if this is a duplicate. Read its `stream()`.

        TooBusy when there are too many turns, and none of them ends within a moment. Stopping after `drain` has begun.
        """
        if not self._turns.find(request):
            await self._room.enter()
            if self.stopping or self._turns.find(request):
                self._room.leave()
            else:
                return self._new_turn(request)
        turn = self._turns.find(request)
        if self.stopping or not turn:
            raise Stopping
        turn.joined += 1
        return turn

    def _new_turn(self, request: TurnRequest) -> Turn:
        turn = Turn(request, timeout=self._config.turn_timeout, default_language=self._config.language)
        task = asyncio.create_task(self._own(turn), name="turn")
        self._turns.add(turn, task)
        task.add_done_callback(self._forget)
        if request.kind == "welcome":
            self._models.warm()
        self._observer.turn_began(turn)
        self._turns.thin_out(request.conversation_id)
        return turn

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._turns.remove(task)
        self._room.leave()

    async def note(self, conversation_id: str, id_: str, kind: str, body: Any) -> None:
        """Keep data for the next turn (kind `data`), or what the platform says of a session (`ended`, `updated`).
        TooBusy when too many are being kept."""
        await self._note_room.enter()
        try:
            await self._journal.note(conversation_id, id_, kind, body)
        finally:
            self._note_room.leave()

    async def last_turn(self, conversation_id: str) -> LastTurn | None:
        return await self._journal.last_turn(conversation_id)

    async def heard(self, conversation_id: str, report: HeardReport) -> None:
        """Keep what was heard of the turn that the report names: the next one is told of it, but there may be none."""
        await self._journal.heard(conversation_id, report)

    async def ready(self) -> None:
        """Raises when the database does not answer."""
        await self._journal.ping()

    def running(self, conversation_id: str) -> list[Turn]:
        """The conversation's turns that are not over and journalled."""
        return self._turns.of(conversation_id)

    def is_at_work(self, conversation_id: str) -> bool:
        """Whether a turn or a tool call of the conversation runs in this process."""
        return bool(self._turns.live(conversation_id) or self._tool_runner.running_calls(conversation_id))

    async def read_tools(self) -> None:
        """Read tool files that have changed, if the configuration says so. What is newly wrong with them is logged."""
        await self._conversations.read_tools()

    async def drain(self, seconds: float) -> None:
        """Begin no more turns; give the running ones so long to end, then interrupt them."""
        self.stopping = True
        await self._turns.wait(seconds)
        for turn in self._turns:
            if not turn.times_said:
                self._conversations.apologise(turn)
        await asyncio.sleep(0)  # for the streams to take that
        for turn in self._turns:
            turn.interrupt()
        await self._turns.wait(2 * PATIENCE)
        if self._tool_runner.running and seconds:
            log.info("waiting for %d tools to finish", len(self._tool_runner.running))
            await asyncio.wait(self._tool_runner.running.values(), timeout=seconds)

    async def close(self) -> None:
        """End everything now. What a turn or a tool had begun is recovered from the journal at the next start."""
        await self.drain(seconds=0)
        await self._tool_runner.abandon()
        self._turns.cancel()
        await self._turns.wait(2 * PATIENCE)
        await self._summaries.close()
        await self._models.close()

    async def _own(self, turn: Turn) -> None:
        """The task of a turn."""
        stateless = turn.request.stateless
        try:
            messages = await self._conversations.run(turn)
            if messages and not (self.stopping or stateless):
                self._summaries.begin(turn.request, messages)
        finally:
            self._turns.journalled(turn)
            self._observer.turn_over(turn)
            if stateless:
                await self._conversations.erase(turn)


@asynccontextmanager
async def open_agent(
    *,
    storage: Storage,
    folder: ToolFolder,
    models: Models,
    config: AgentConfig | None = None,
    perform: Perform | None = None,
    perform_check: PerformCheck | None = None,
    summaries: Mapping[str, Summary] | None = None,
    observers: Sequence[Observer] = (),
    call_times: CallTimes | None = None,
) -> AsyncIterator[Agent]:
    """An agent, ready to begin turns. `folder` has been loaded.

    perform, perform_check: run tool calls, and their checks, in place of the tools. summaries: by turn, in place of
    those that the model would make. call_times: without them no tool file's `call_ended` is called.
    """
    observer = Observers(observers)
    async with (
        httpx.AsyncClient(timeout=10, verify=tls_context()) as http,
        open_workers(storage.database, shared=storage.shared) as workers,
    ):
        journal = Journal(storage, workers)
        await models.rehearse(list(folder.tools.values()))
        models.warm()
        config, turns = config or AgentConfig(), OpenTurns()
        tool_runner = ToolRunner(
            journal, storage, http, observer, perform=perform, perform_check=perform_check,
            patience=models.first_token, hold=config.action_hold,
        )  # fmt: skip
        made = Summaries(storage, models, summaries)
        conversations = Conversations(
            build_graph(storage.saver), storage, journal, folder, models, tool_runner, config, made, workers, turns
        )
        calls = Calls(storage, workers, folder, tool_runner, turns, http, call_times)
        agent = Agent(conversations, calls, observer)
        await calls.start()
        try:
            yield agent
        finally:
            await agent.close()
            await calls.stop()
