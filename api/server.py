"""The server process: uvicorn, with a shutdown that lets people finish their sentence.

On SIGTERM or Ctrl-C: readiness drops and no turn is begun; running turns have `DRAIN_SECONDS`, then are
interrupted, which ends their streams; tools that finish on their own have `DRAIN_SECONDS` more; then connections,
agent and database are closed, and the process exits with 0. A second signal skips the waiting.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from api.settings import NotConfigured

log = logging.getLogger(__name__)

# At `info` these would log every URL, with what the caller asked for in it.
_TALKATIVE = ("httpx", "httpx2", "google_genai", "aiosqlite", "sse_starlette")


class Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, app: FastAPI, drain_seconds: float) -> None:
        super().__init__(config)
        self._app = app
        self._drain_seconds = drain_seconds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Not uvicorn's own: that raises the signal again at the end, and the exit status would not be 0."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
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


def run(app: FastAPI, listener: socket.socket, *, log_level: str, drain_seconds: float) -> None:
    """Serve until a signal. SystemExit 3 when the start fails, as with uvicorn."""
    configure_logging(log_level)
    log.info("listening on %s, port %d", *listener.getsockname()[:2])
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=5)
    server = Server(config, app, drain_seconds)
    server.run([listener])
    if not server.started:
        raise SystemExit(3)


def configure_logging(level: str) -> None:
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
