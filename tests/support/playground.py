"""A client of the playground's socket, and a backend that is not ours, as a test uses them."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn
import websockets
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from api.cli.dev import development_app
from api.platforms.layercode import signature
from api.settings import Settings
from api.wiring import load_parts
from tests.support.backend import ROOT, SECRET, Backend, running

Message = dict[str, Any]


@asynccontextmanager
async def development(
    webhook: str | None = None, hosts: Collection[str] = (), **settings: Any
) -> AsyncIterator[Backend]:
    """What `voice dev` serves, in this event loop, behind a real socket."""
    defaults = {"_env_file": None, "layercode_webhook_secret": SecretStr(SECRET), "model": "demo"}
    made = Settings(**{"tools_dir": ROOT / "tools", **defaults, **settings})
    listener = socket.create_server(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    app = development_app(made, load_parts(made, reload_tools=True), base, webhook, hosts=hosts)
    async with running(app, listener, made) as backend:
        yield backend


class Client:
    """Everything that came is in `got`, in order."""

    def __init__(self, socket: websockets.ClientConnection, conversation: str) -> None:
        self.conversation = conversation
        self.got: list[Message] = []
        self._socket = socket
        self._news = asyncio.Event()
        self._seen = 0
        self._listening = asyncio.create_task(self._listen())

    async def send(self, type_: str, **fields: Any) -> None:
        await self.send_raw(json.dumps({"type": type_, **fields}))

    async def send_raw(self, text: str | bytes) -> None:
        await self._socket.send(text)

    async def say(self, text: str) -> None:
        await self.send("client.response.text", content=text)

    async def until(self, type_: str, seconds: float = 20, **fields: Any) -> Message:
        """The next message of this type and these fields that was not asked for yet."""
        async with asyncio.timeout(seconds):
            while True:
                while self._seen < len(self.got):
                    message = self.got[self._seen]
                    self._seen += 1
                    if message["type"] == type_ and fields.items() <= message.items():
                        return message
                self._news.clear()
                await self._news.wait()

    async def answer(self, seconds: float = 20) -> str:
        """Wait for an answer's end: its words."""
        turn = (await self.until("response.end", seconds))["turn_id"]
        return "".join(m["content"] for m in self.got if m["type"] == "response.text" and m["turn_id"] == turn)

    def of(self, type_: str) -> list[Message]:
        return [message for message in self.got if message["type"] == type_]

    async def closed(self) -> tuple[int, str]:
        """Wait until the server has closed it: code and reason."""
        await asyncio.wait_for(self._socket.wait_closed(), 10)
        return self._socket.close_code or 0, self._socket.close_reason or ""

    async def drop(self) -> None:
        """The line goes dead, without a word."""
        self._socket.transport.abort()
        await self._socket.wait_closed()

    async def close(self) -> None:
        await self._socket.close()
        await self._listening

    async def _listen(self) -> None:
        try:
            async for text in self._socket:
                self.got.append(json.loads(text))
                self._news.set()
        except websockets.ConnectionClosed:
            pass


async def authorized(url: str, **fields: Any) -> dict[str, Any]:
    async with httpx.AsyncClient() as http:
        answer = await http.post(f"{url}/playground/authorize", json=fields)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def socket_url(url: str, key: str, *, events: bool = True) -> str:
    address = url.replace("http://", "ws://", 1)
    return f"{address}/layercode/v1/agents/web/websocket?client_session_key={key}" + "&events=playground" * events


@asynccontextmanager
async def connected(url: str, *, ready: bool = True, events: bool = True, **fields: Any) -> AsyncIterator[Client]:
    """Authorize with `fields`, connect, and be ready: the welcome turn is the first to come."""
    made = await authorized(url, **fields)
    async with websockets.connect(socket_url(url, made["client_session_key"], events=events)) as socket:
        client = Client(socket, made["conversation_id"])
        try:
            if ready:
                await client.send("client.ready")
                await client.until("response.end")
            yield client
        finally:
            await client.close()


@dataclass
class Foreign:
    """Another backend. webhooks: the bodies it was sent, in order. dropped: the turns whose request was dropped.
    welcome: what it greets with."""

    url: str
    webhooks: list[Message] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    welcome: str = "Hello."

    def of(self, type_: str) -> list[Message]:
        return [body for body in self.webhooks if body["type"] == type_]

    async def until(self, type_: str, count: int = 1) -> Message:
        async with asyncio.timeout(10):
            while len(self.of(type_)) < count:
                await asyncio.sleep(0.01)
        return self.of(type_)[count - 1]


JUNK = {"junk": "{", "huge": '{"type": "response.data", "content": {"huge": [1e999]}}'}
WORDS = [f"word{n}" for n in range(1, 41)]


@asynccontextmanager
async def foreign() -> AsyncIterator[Foreign]:
    """It does what the text of a message says: see `_answer`."""
    listener = socket.create_server(("127.0.0.1", 0))
    made = Foreign(f"http://127.0.0.1:{listener.getsockname()[1]}/hook")

    async def hook(request: Request) -> Response:
        raw = await request.body()
        signature.verify(SECRET, request.headers.get(signature.HEADER), raw, time.time())
        body = json.loads(raw)
        made.webhooks.append(body)
        made.headers.append(dict(request.headers))
        if body["type"] == "data":
            return JSONResponse({"got": body["data"]})
        if body["type"] in ("session.end", "session.update"):
            return JSONResponse({"status": "ok"})
        text = body.get("text", "")
        if text.startswith("status "):
            return JSONResponse({}, int(text.split()[1]))
        return StreamingResponse(_events(made, body), media_type="text/event-stream")

    app = Starlette(routes=[Route("/hook", hook, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    server.capture_signals = nullcontext  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield made
    finally:
        server.should_exit = True
        await task


async def _events(made: Foreign, body: Message) -> AsyncIterator[str]:
    ended = False
    try:
        async for event in _answer(body["text"] if body["type"] == "message" else made.welcome):
            yield f"data: {event if isinstance(event, str) else json.dumps({**event, 'turn_id': body['turn_id']})}\n\n"
        ended = True
    finally:
        if not ended:
            made.dropped.append(body["turn_id"])


async def _answer(text: str) -> AsyncIterator[Message | str]:
    end = "." * (text == "sentences")
    words = [f"{word}{end} " for word in WORDS] if text in ("slow", "long", "sentences") else [text]
    for word in words:
        yield {"type": "response.tts", "content": word}
        await asyncio.sleep({"slow": 0.1, "sentences": 0.1, "wait": 30}.get(text, 0))
    if text in JUNK:
        yield JUNK[text]
    if text != "no end":
        yield {"type": "response.end"}
