"""The sessions with MCP servers, whose tools are offered while they last. What such a tool is: mcp_tools.py.

A server's session belongs to one task from its opening to its end: the client's cancel scopes must be left where they
were entered. A server that is down is tried again, with growing pauses, and its tools say so meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import jsonschema  # type: ignore[import-untyped]
from langchain_core.tools import BaseTool
from langchain_mcp_adapters.sessions import create_session
from mcp import ClientSession, McpError, types

from agent.tooling.decorator import VoiceTool
from agent.tooling.folder import ToolFolder
from agent.tooling.mcp_config import ServerConfig
from agent.tooling.mcp_http import bounded_client
from agent.tooling.mcp_tools import in_words, stand_in, tool_of, unavailable, why_not
from agent.tooling.sandbox import isolated

log = logging.getLogger(__name__)

_WAIT = 8.0  # seconds that our start waits for the servers
_START = 30.0  # seconds a server has to say what tools it has: a command may have to be fetched first
_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds between attempts
_SOUND = 30.0  # seconds after which a server that was up counts as sound: the next pause is short again
_LOOK = 5.0  # seconds between looks whether it is still there
_PATIENCE = 30.0  # seconds it has to answer then
_MOST_TOOLS = 1000  # of a server: it may have pages without end
_END = 6.0  # seconds for its end; within them a process that stays gets SIGTERM, then SIGKILL
_TAKE_BACK = 0.05  # seconds to tell it that a call is not wanted any more


class Server:
    """One MCP server. `settled` is set once it is up, or was found down."""

    def __init__(self, name: str, config: ServerConfig, folder: ToolFolder) -> None:
        self.name, self._config, self._folder = name, config, folder
        self.settled = asyncio.Event()
        self._owner = f"the MCP server {name}"
        self._unfit: list[str] = []
        self._wanted = {*(config.only or ()), *config.tools} - {"*"}  # of which the file says that they are there
        self._session: ClientSession | None = None
        self._calls: set[asyncio.Timeout] = set()
        self._doubt = asyncio.Event()

    async def run(self) -> None:
        """Hold a session for good. What the server offers is offered in the folder."""
        pause, now = _PAUSE, asyncio.get_running_loop().time
        await self._offer([stand_in(self.name)])
        while True:
            up = math.inf
            why: Exception = ConnectionError()
            try:
                async with create_session(_connection(self._config)) as session:
                    await self._start(session)
                    up = now()
                    await self._watch(session)
            except Exception as error:  # noqa: BLE001 - whatever it is: the conversations go on, and it is tried again
                why = error
            self._lose(why)
            pause = _PAUSE if now() - up >= _SOUND else pause
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _start(self, session: ClientSession) -> None:
        async with asyncio.timeout(_START):
            await session.initialize()
            page = await session.list_tools()
            listed = page.tools
            while page.nextCursor and len(listed) < _MOST_TOOLS:
                page = await session.list_tools(params=types.PaginatedRequestParams(cursor=page.nextCursor))
                listed += page.tools
        await self._offer(await asyncio.to_thread(self._fitting, listed))  # it may take its time to read
        self._session = session
        log.info("the MCP server %s is up", self.name)
        self.settled.set()

    async def _watch(self, session: ClientSession) -> None:
        """Raises once it is gone. A call that has failed is a reason to look at once."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await self._doubt.wait()
            self._doubt.clear()
            try:
                async with asyncio.timeout(_PATIENCE):
                    await session.send_ping()
            except TimeoutError:
                if not self._calls:  # while it works on one it may not answer
                    raise
            except McpError as error:
                if error.error.code != types.METHOD_NOT_FOUND:
                    raise

    def _lose(self, error: BaseException) -> None:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if self._session or not self.settled.is_set():
            log.error("the MCP server %s is down (%s); it is tried again", self.name, type(error).__name__)
        log.debug("the MCP server %s", self.name, exc_info=error)
        self._session = None
        for lost in self._calls:
            lost.reschedule(asyncio.get_running_loop().time())
        self._calls.clear()
        self.settled.set()

    async def _offer(self, tools: Sequence[VoiceTool]) -> None:
        await asyncio.to_thread(self._folder.offer, self._owner, tools)
        for fault in await asyncio.to_thread(self.faults) if self.settled.is_set() else ():
            log.error("%s", fault)

    def faults(self) -> list[str]:
        """What of its configuration does not fit it, a sentence each. A tool that has the name of another one is a
        fault if the file names it, and else left out."""
        faults = list(self._unfit)
        for clash in self._folder.clashes_of(self._owner):
            if _foreign_name(clash.tool) in self._wanted:
                faults.append(f'{clash} "only" in MCP_SERVERS leaves tools out.')
            else:
                name = _foreign_name(clash.tool) or clash.tool.name
                log.warning("%s %r of %s is left out", clash, name, self._owner)
        return faults

    def _fitting(self, listed: Sequence[types.Tool]) -> list[VoiceTool]:
        """The tools to offer. One that the file names and that does not fit is a fault, another is left out."""
        by_name = {tool.name: tool for tool in listed}
        names, only, tools = [*by_name], self._config.only, []
        self._unfit = [
            f"MCP_SERVERS names a tool {name!r}, which {self.name} does not have. It has: {', '.join(names)}."
            for name in sorted(self._wanted.difference(names))
        ]
        for tool in by_name.values():
            try:
                if only is None or tool.name in only:
                    tools.append(self._folder.fit(self._make(tool)))
            except (ValueError, KeyError, jsonschema.SchemaError) as error:
                why = why_not(tool.name, error)
                fault = f"The MCP server {self.name}, {why}."
                self._unfit += [fault] if tool.name in self._wanted else []
                log.warning("%s It is left out", fault)
        return tools

    def _make(self, tool: types.Tool) -> VoiceTool:
        hints, config = tool.annotations or types.ToolAnnotations(), self._config
        if hints.destructiveHint and not hints.readOnlyHint and "confirm" not in config.options_of(tool.name):
            raise ValueError(f'tool {tool.name!r} is destructive: set "confirm" to a question, or to false')

        async def run(**arguments: Any) -> str:
            return in_words(await self._call(tool.name, arguments))

        options = config.tool_options(tool.name, reads=bool(hints.readOnlyHint))
        limited = isolated(run, options.at_once)
        return tool_of(self.name, tool.name, tool.description or tool.name, tool.inputSchema, options, limited)

    async def _call(self, tool: str, arguments: dict[str, Any]) -> types.CallToolResult:
        """Run a call in the session that is open. ToolException, with words for the model, when there is none."""
        session = self._session
        if session is None:
            raise unavailable(tool)
        number = session._request_id  # the call's, which nothing else tells
        try:
            async with asyncio.timeout(None) as lost:
                self._calls.add(lost)
                return await session.call_tool(tool, arguments)
        except asyncio.CancelledError:
            await _take_back(session, number)
            raise
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):  # nothing was sent
            self._doubt.set()
            raise unavailable(tool) from None
        except TimeoutError:
            raise ConnectionError from None
        except Exception:
            self._doubt.set()
            raise
        finally:
            self._calls.discard(lost)


def _foreign_name(tool: BaseTool) -> str:
    """As its server calls it; empty for what no server has said."""
    return str((tool.metadata or {}).get("mcp", {}).get("name", ""))


def _connection(config: ServerConfig) -> Any:
    """As langchain-mcp-adapters takes it."""
    if config.command:
        return {"transport": "stdio", **config.model_dump(include={"command", "args", "env"})}
    transport = "sse" if config.type == "sse" else "streamable_http"
    return {
        "transport": transport,
        "url": config.url,
        "headers": config.headers,
        "httpx_client_factory": bounded_client,
    }


async def _take_back(session: ClientSession, number: int) -> None:
    params = types.CancelledNotificationParams(requestId=number)
    with suppress(Exception):  # a server that is gone, or does not listen, need not be told
        async with asyncio.timeout(_TAKE_BACK):
            await session.send_notification(types.ClientNotification(types.CancelledNotification(params=params)))


@asynccontextmanager
async def open_servers(configs: Mapping[str, ServerConfig], folder: ToolFolder) -> AsyncIterator[list[str]]:
    """Offer the servers' tools in `folder` while this is open. Yields what is wrong with the configuration, a sentence
    each. A server that is down is not."""
    servers = [Server(name, config, folder) for name, config in configs.items()]
    tasks = [asyncio.create_task(server.run(), name=f"MCP server {server.name}") for server in servers]
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(_WAIT):
                await asyncio.gather(*(server.settled.wait() for server in servers))
        for server in servers:
            if not server.settled.is_set():
                log.error("the MCP server %s has not answered yet: its tools come when it does", server.name)
                server.settled.set()
        yield [fault for server in servers for fault in server.faults()]
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_END)
