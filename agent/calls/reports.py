"""Calls and their end: platforms say what they see of a call, and once it is over, the hooks in tool files are told.

A call with a socket is over some seconds after that was closed, as it may be opened again, or at once when the
platform says so; one without a socket when nothing has come for a while. What a process that has died held is taken for
dropped. Then, when no turn and no tool of it runs any more, each hook `call_ended` is called: by one process, and again
after a growing pause if it fails, or the process dies meanwhile. One that has been through is not called again.

Nothing is kept, and nothing looked for, while no tool file has a hook.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import httpx

from agent.calls.record import record_of
from agent.calls.table import CallRow, CallTable
from agent.failures import log_failure, logged
from agent.storage import SingleWorker, Storage, is_at_work
from agent.tooling import CallEnded, EndedCall, HowEnded, ToolFolder, ToolRunner, acts, isolated
from agent.turns import OpenTurns

log = logging.getLogger(__name__)

_LOOK = 1.0  # seconds between two looks for calls that are over
_ORPHANS = 5  # looks between two for calls of dead workers
_BUSY = 0.5  # seconds until a call of which something still runs is looked at again
_AT_ONCE = 10  # calls that are reported at once
_SECONDS = 30.0  # for a hook
_AGAIN = (5.0, 30.0, 120.0, 600.0)  # seconds until a hook that has failed is tried again


@dataclass(frozen=True)
class CallTimes:
    """In seconds. reconnect: until a call counts as over whose socket was closed. idle: the same for one without a
    socket of which nothing has come. silent: for one whose platform tells its end, if it does not."""

    reconnect: float = 10.0
    idle: float = 120.0
    silent: float = 1800.0


class Calls:
    """What platforms tell of calls. times: None for an agent that tells no hooks, as in a replay.

    Sockets: `open`, perhaps `mark`, `close`, perhaps `over`. Others: `goes_on` with each request, perhaps `over`.
    Nothing here raises.
    """

    def __init__(
        self,
        storage: Storage,
        workers: SingleWorker,
        folder: ToolFolder,
        tool_runner: ToolRunner,
        turns: OpenTurns,
        http: httpx.AsyncClient,
        times: CallTimes | None,
    ) -> None:
        self.times = times or CallTimes()
        self._enabled = times is not None
        self._storage = storage
        self._workers = workers
        self._folder = folder
        self._tool_runner = tool_runner
        self._turns = turns
        self._http = http
        self._table = CallTable(storage, workers.name or "this process")
        self._entering: set[asyncio.Task[None]] = set()
        self._reporting: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Task[None] | None = None
        self._looks = 0

    @property
    def _wanted(self) -> bool:
        return self._enabled and bool(self._folder.call_ended)

    # What platforms tell.

    def goes_on(self, conversation: str, session: str, platform: str, silence: float) -> None:
        """A request of a call has come. silence: seconds without another one after which the call is over."""
        if self._wanted:
            now = time.time()
            entered = self._table.goes_on(conversation, session, platform, now, now + silence)
            task = asyncio.create_task(self._enter(entered), name="call")
            self._entering.add(task)
            task.add_done_callback(self._entering.discard)

    async def open(self, conversation: str, platform: str, holder: str) -> None:
        """A socket was opened for a call, perhaps not the first one. holder: names the socket."""
        if self._wanted:
            await self._enter(self._table.open(conversation, conversation, platform, holder))

    async def mark(self, conversation: str, how: HowEnded) -> None:
        """The call is about to end like this."""
        if self._wanted:
            await self._enter(self._table.mark(conversation, conversation, how))

    async def close(self, conversation: str, holder: str, how: HowEnded) -> None:
        """The socket was closed."""
        if self._wanted:
            due = time.time() + self.times.reconnect
            await self._enter(self._table.close(conversation, conversation, holder, how, due))

    async def over(self, conversation: str, session: str, platform: str, how: HowEnded | None = None) -> None:
        """The platform says that the call is over."""
        if self._wanted:
            await self._enter(self._over(conversation, session, platform, how))

    async def _over(self, conversation: str, session: str, platform: str, how: HowEnded | None) -> None:
        if not await self._table.over(conversation, session, how) and how:  # its beginning was not entered
            began = await self._table.last_end(conversation)
            await self._table.goes_on(conversation, session, platform, began, time.time())
            await self._table.over(conversation, session, how)

    async def _enter(self, entered: Awaitable[Any]) -> None:
        with logged(log, "a call could not be entered for call_ended"):
            await entered

    # Telling the hooks.

    async def start(self) -> None:
        if not self._enabled:
            return
        if not self._storage.shared:  # whoever held a call has ended
            await self._enter(self._table.release(self.times.reconnect))
        self._watching = asyncio.create_task(self._watch(), name="calls")

    async def stop(self) -> None:
        """Another process, or the next start, goes on."""
        tasks = [*filter(None, [self._watching]), *self._reporting]
        for task in tasks:
            task.cancel()
        if tasks := [*tasks, *self._entering]:
            await asyncio.wait(tasks, timeout=1)
        if self._wanted:
            await self._enter(self._table.release(self.times.reconnect, mine=True))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            if self._wanted:
                with logged(log, "calls that are over could not be looked for"):
                    await self._look()

    async def _look(self) -> None:
        self._looks += 1
        if self._storage.shared and self._looks % _ORPHANS == 1:
            living = {self._workers.name, *await self._workers.living()}
            await self._table.release(self.times.reconnect, but=living)
        for call in await self._table.due(_AT_ONCE - len(self._reporting)):
            if await self._is_at_work(call.conversation):
                await self._table.later(call, _BUSY)
            elif await self._table.claim(call):
                task = asyncio.create_task(self._report(call), name="call_ended")
                self._reporting.add(task)
                task.add_done_callback(self._reporting.discard)

    async def _is_at_work(self, conversation: str) -> bool:
        live, running = self._turns.live(conversation), self._tool_runner.running_calls(conversation)
        return await is_at_work(self._storage.database, self._workers, conversation, live, running)

    async def _report(self, call: CallRow) -> None:
        """Call the hooks that have not been through, and enter what came of it."""
        done = set(json.loads(call.done))
        hooks = {path.name: hook for path, hook in self._folder.call_ended.items() if path.name not in done}
        if call.attempts <= len(_AGAIN):  # else the process has died in each of them
            with logged(log, "a call that is over could not be read"):
                record = await self._record(call)
                done |= {file for file, hook in hooks.items() if await self._call(file, hook, record)}
        missed = ", ".join(sorted(hooks.keys() - done))
        with logged(log, "the end of a call was reported, and that could not be entered"):
            if not missed:
                await self._table.settle(call, "reported", done)
            elif call.attempts < len(_AGAIN):
                await self._table.settle(call, "reporting", done, again_after=_AGAIN[call.attempts])
            else:
                log.error("call_ended is given up after %d attempts: %s", call.attempts + 1, missed)
                await self._table.settle(call, "failed", done)

    async def _record(self, call: CallRow) -> EndedCall:
        actions = {name for name, tool in self._folder.tools.items() if acts(tool)}
        until = await self._table.until(call) or math.inf
        return await record_of(self._storage.database, call, until, actions, self._http)

    async def _call(self, file: str, hook: CallEnded, record: EndedCall) -> bool:
        """Whether a hook has been through."""
        try:
            async with asyncio.timeout(_SECONDS):
                await isolated(hook)(record)
        except Exception as error:  # noqa: BLE001 - the developer's own function, whatever it raises
            log_failure(log, f"call_ended in {file} failed, attempt {record.attempt}", error)
            return False
        return True
