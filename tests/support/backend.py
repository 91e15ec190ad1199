"""Our backend, and a caller of it: what a test of a conversation is written with."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr

from agent.agent import Agent
from agent.tls import tls_context
from api.app import create_app
from api.operations.server import server_config
from api.platforms.layercode.client import interruption_context, signed_headers
from api.settings import Settings
from tests.support.processes import Process

SECRET = "whsec_0123456789abcdef"
ROOT = Path(__file__).parents[2]


@dataclass
class Reply:
    """What came back. `events`: (seconds since the request, event). `hung_up`: the caller dropped the line."""

    status: int
    turn_id: str
    events: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    raw: bytes = b""
    hung_up: bool = False

    @property
    def types(self) -> list[str]:
        return [event["type"] for _, event in self.events]

    @property
    def text(self) -> str:
        return "".join(event["content"] for _, event in self.events if event["type"] == "response.tts")

    @property
    def data(self) -> list[Any]:
        return [event["content"] for _, event in self.events if event["type"] == "response.data"]

    @property
    def ended_once(self) -> bool:
        return self.types.count("response.end") == 1 and self.types[-1] == "response.end"


class Caller:
    """One conversation with a backend, as Layercode would hold it. derives: nothing heard is told as no report."""

    derives = False

    def __init__(self, url: str, http: httpx.AsyncClient, conversation: str | None = None) -> None:
        self.conversation = conversation or f"conv_{uuid.uuid4().hex[:12]}"
        self._url = url
        self._http = http
        self.turns = 0

    async def close(self) -> None:
        """Each request is a connection of its own."""

    async def say(
        self,
        text: str | None,
        *,
        type: str = "message",  # noqa: A002 - the wire's name
        turn: str | None = None,
        heard: tuple[str, str] | None = None,
        hang_up_after: int | None = None,
        hang_up_at: float | None = None,
        **fields: Any,
    ) -> Reply:
        """Send a webhook, read the stream. heard: (turn id, text heard) of an interrupted turn. The line is
        dropped after `hang_up_after` events, or `hang_up_at` seconds."""
        self.turns += 1
        reply = Reply(0, turn or f"turn_{self.turns}")
        body: dict[str, Any] = {"type": type, "session_id": "s1", "conversation_id": self.conversation}
        body |= {"turn_id": reply.turn_id, **({} if text is None else {"text": text}), **fields}
        if heard is not None:
            body["interruption_context"] = interruption_context(*heard)
        began = time.monotonic()
        try:
            async with asyncio.timeout(hang_up_at):
                async with self._http.stream("POST", self._url, **signed(body)) as response:
                    reply.status = response.status_code
                    await _read(response, reply, began, hang_up_after)
        except TimeoutError:
            reply.hung_up = True
        return reply


async def _read(response: httpx.Response, reply: Reply, began: float, hang_up_after: int | None) -> None:
    if hang_up_after == 0:
        reply.hung_up = True
        return
    async for line in response.aiter_lines():
        reply.raw += line.encode() + b"\n"
        if line.startswith("data: "):
            reply.events.append((time.monotonic() - began, json.loads(line.removeprefix("data: "))))
            if len(reply.events) == hang_up_after and reply.types[-1] != "response.end":
                reply.hung_up = True
                return


def signed(body: Mapping[str, Any] | bytes, secret: str = SECRET, at: float | None = None) -> dict[str, Any]:
    """`content` and `headers` of a webhook request."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return {"content": content, "headers": signed_headers(secret, content, at)}


@dataclass
class Backend:
    url: str
    http: httpx.AsyncClient
    agent: Agent | None = None
    process: Process | subprocess.Popen[str] | None = None

    def caller(self, conversation: str | None = None) -> Caller:
        return Caller(f"{self.url}/api/agent", self.http, conversation)


@asynccontextmanager
async def backend(**settings: Any) -> AsyncIterator[Backend]:
    """The application in this event loop, behind a real socket."""
    defaults = {"_env_file": None, "layercode_webhook_secret": SecretStr(SECRET)}
    made = Settings(**{**defaults, **settings})
    app = create_app(made)
    async with running(app, socket.create_server(("127.0.0.1", 0), backlog=1024), made) as backend:
        yield backend


@asynccontextmanager
async def running(app: FastAPI, listener: socket.socket, settings: Settings) -> AsyncIterator[Backend]:
    config = server_config(app, settings)
    config.timeout_graceful_shutdown = 3
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    with _no_signals(server):
        task = asyncio.create_task(server.serve([listener]))
        try:
            while not server.started:
                assert not task.done(), "the backend did not start"
                await asyncio.sleep(0.005)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            async with client() as http:
                yield Backend(url, http, app.state.agent)
        finally:
            server.should_exit = True
            await task
            listener.close()


@contextmanager
def _no_signals(server: uvicorn.Server) -> Iterator[None]:
    """uvicorn must not take the test runner's signal handlers."""

    @contextmanager
    def nothing() -> Iterator[None]:
        yield

    server.capture_signals = nothing  # type: ignore[method-assign]
    yield


@contextmanager
def process(command: list[str], **env: str) -> Iterator[Process]:
    """A `voice` command in a process of its own; killed at the end if it still runs."""
    full = {key: value for key, value in os.environ.items() if not key.startswith(("LAYERCODE", "GOOGLE", "GEMINI"))}
    full |= {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "TOOLS_DIR": str(ROOT / "tools")}
    running = Process(command, full | env)
    try:
        yield running
    finally:
        if running.poll() is None:
            running.kill()
        running.communicate()


@asynccontextmanager
async def served(*options: str, command: str = "serve", **env: str) -> AsyncIterator[Backend]:
    """`voice serve` in a process of its own, once it is ready."""
    port = free_port()
    with process([command, "--port", str(port), *options], **{"LAYERCODE_WEBHOOK_SECRET": SECRET, **env}) as running:
        async with client() as http:
            url = f"http://127.0.0.1:{port}"
            await until_ready(http, url, running)
            yield Backend(url, http, process=running)


async def until_ready(http: httpx.AsyncClient, url: str, running: Process | subprocess.Popen[str]) -> None:
    for _ in range(600):
        assert running.poll() is None, f"it did not start: {running.communicate()[0]}"
        try:
            if (await http.get(f"{url}/readyz")).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        await asyncio.sleep(0.05)
    raise AssertionError("it did not get ready within 30 seconds")


async def stopped(running: Process | subprocess.Popen[str], sig: int = signal.SIGTERM) -> tuple[int, str]:
    """Signal a process and wait for its end: its exit status, and what it printed."""
    running.send_signal(sig)
    output, _ = await asyncio.to_thread(running.communicate, timeout=30)
    return running.returncode, output


def client() -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    return httpx.AsyncClient(timeout=60, limits=limits, verify=tls_context())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
