"""The server process: uvicorn, with a shutdown that lets people finish their sentence.

On SIGTERM or Ctrl-C: readiness drops and no turn is begun; running turns have `DRAIN_SECONDS`, then are
interrupted, which ends their streams; tools that finish on their own have `DRAIN_SECONDS` more; then connections,
agent and database are closed, and the process exits with 0. A second signal skips the waiting.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType

import uvicorn
from fastapi import FastAPI

from api.operations.connections import Connection, Socket
from api.operations.logs import configure_logging
from api.operations.unverified import Unverified
from api.settings import NotConfigured, Settings

log = logging.getLogger(__name__)

# uvloop takes one new connection from a socket in each round of the event loop, and a busy loop's rounds are long: of
# 500 callers at once on one core the last one waited 7 s. From a socket that is there 16 times it takes 16.
_TIMES = 16
_MAX_FRAME = 1024 * 1024  # bytes of a WebSocket's message
_LAST_REQUESTS = 0.25  # seconds for what has connected to a worker that accepts no more


class Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, app: FastAPI, drain_seconds: float, ready: Callable[[], object] | None = None
    ) -> None:
        super().__init__(config)
        self._app = app
        self._drain_seconds = drain_seconds
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._ready:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Not uvicorn's own: that raises the signal again at the end, and the exit status would not be 0."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._ready:
            await self._leave_to_others()
        agent = getattr(self._app.state, "agent", None)
        if agent:
            log.info("shutting down: %d turns are running", agent.open_turns)
            draining = asyncio.create_task(agent.drain(self._drain_seconds))
            while not (draining.done() or self.force_exit):
                await asyncio.wait([draining], timeout=0.1)
            if draining.cancel():
                await agent.drain(seconds=0)
        await super().shutdown(sockets)
        if self.force_exit:
            await self.lifespan.shutdown()  # uvicorn leaves it out then; the database shall be closed all the same

    async def _leave_to_others(self) -> None:
        """Accept no more: other workers do. Who has connected already may still send a request. Calls on a WebSocket go
        on: they are drained as all turns are."""
        for server in self.servers:
            server.close()
        await asyncio.sleep(_LAST_REQUESTS)
        for connection in list(self.server_state.connections):
            if isinstance(connection, Connection):
                connection.shutdown()


def listen(host: str, port: int) -> socket.socket:
    """A socket to serve on. NotConfigured when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise NotConfigured(
            f"Cannot listen on {host}, port {port}: {reason.partition(' (while')[0]}."
            " If another server is running there, --port takes another."
        ) from None


def run(app: FastAPI, listener: socket.socket, settings: Settings, ready: Callable[[], object] | None = None) -> None:
    """Serve until a signal. SystemExit 3 when the start fails, as with uvicorn.

    ready: for one of several workers on the socket; called when it serves."""
    configure_logging(settings.log_level, settings.log_format)
    _allow_many_files()
    log.info("listening on %s, port %d", *listener.getsockname()[:2])
    server = Server(server_config(app, settings), app, settings.drain_seconds, ready)
    listener.setblocking(False)  # dup() would make it block in all workers that share it
    server.run([listener, *(listener.dup() for _ in range(_TIMES - 1))])
    if not server.started:
        raise SystemExit(3)


def server_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=partial(Connection, unverified=Unverified()),  # type: ignore[arg-type]
        ws=Socket if getattr(app.state, "has_sockets", False) else "none",
        ws_max_size=_MAX_FRAME,
        log_config=None,
        access_log=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=5,
        proxy_headers=bool(settings.forwarded_allow_ips),
        forwarded_allow_ips=settings.forwarded_allow_ips,
    )


def _allow_many_files() -> None:
    """Each caller costs a connection or more, and the usual limit is 1,024."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):  # not every system lets it be as high as it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
