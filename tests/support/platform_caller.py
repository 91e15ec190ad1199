"""A caller over any platform's wire, used as `Caller` is: for tests that hold the same conversations on each."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import AsyncExitStack
from typing import Any

from pydantic import SecretStr

from api.platforms import CLIENTS, CallDetails, ClientEvent, PlatformClient, Unreachable, open_client, over_sockets
from api.platforms.socket_client import SocketClient
from api.settings import Settings
from tests.support.backend import Backend, Reply

SECRET = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
OTHERS = [platform for platform in CLIENTS if platform != "layercode"]
_TYPES = {"say": "response.tts", "show": "response.data", "control": "control", "end": "response.end"}


def secrets_for(*platforms: str) -> dict[str, Any]:
    """Settings that switch these platforms on, and Layercode off."""
    return {"layercode_webhook_secret": SecretStr(""), **{CLIENTS[one].secret: SecretStr(SECRET) for one in platforms}}


class PlatformCaller:
    """One conversation. `derives`: nothing heard is told as no report. known: the server knows the call already, so it
    does not greet."""

    def __init__(self, platform: str, url: str, conversation: str, *, known: bool = False) -> None:
        self.conversation = conversation
        self._platform = platform
        self._url = url
        self._known = known
        self._stack = AsyncExitStack()
        self._client: PlatformClient | None = None
        self._last: str | None = None  # the turn that was asked for last

    @property
    def derives(self) -> bool:
        return self._platform in ("speech-engine", "completions")

    async def client(self) -> PlatformClient:
        """Unreachable when no server is there."""
        if self._client is None:
            network = await self._stack.enter_async_context(over_sockets(self._url))
            settings = Settings.model_construct(**secrets_for(self._platform))
            call = CallDetails(self.conversation)
            client = await self._stack.enter_async_context(open_client(self._platform, network, settings, call))
            if isinstance(client, SocketClient) and self._known:
                vars(client)["session"] = f"VX{uuid.uuid4().hex}"  # a phone's socket is never named as another one was
                await client.connect()
            elif client.must_begin:
                await client.begin()
                if client.abilities.may_speak_first:
                    await client.answer()
            self._client = client
        return self._client

    async def close(self) -> None:
        await self._stack.aclose()

    async def say(
        self,
        text: str,
        *,
        turn: str | None = None,
        heard: tuple[str, str] | None = None,
        hang_up_after: int | None = None,
        hang_up_at: float | None = None,
        again: bool = False,
    ) -> Reply:
        """See `Caller`. The same turn as before is a duplicate. again: it comes once more while it is answered. The
        status is 0 when the server went away, or had not taken it before the caller hung up."""
        reply = Reply(0, turn or "")
        try:
            client = await self.client()
            if isinstance(client, SocketClient) and not client.is_connected:
                await client.connect()
            if heard is not None:
                await client.interrupt(heard[1])
            if turn is not None and turn == self._last:
                await client.duplicate()
            else:
                await client.say(text)
            self._last = turn
            if again:
                await asyncio.sleep(0.05)
                await client.duplicate()
        except Unreachable:
            return reply
        await self._listen(client, reply, hang_up_after, hang_up_at)
        return reply

    async def _listen(self, client: PlatformClient, reply: Reply, after: int | None, at: float | None) -> None:
        began, taken = time.monotonic(), False
        try:
            async with asyncio.timeout(at):
                await client.taken()
                taken = True
                while after is None or len(reply.events) < after:
                    event = await client.newest()
                    if event.kind in ("failed", "closed"):
                        reply.status, reply.hung_up = 0, True
                        return
                    reply.status = 200
                    reply.events.append((time.monotonic() - began, _described(event)))
                    if event.kind == "end":
                        return
        except TimeoutError:
            pass
        reply.status, reply.hung_up = 200 if taken else 0, True
        try:
            await client.interrupt()
        except Unreachable:
            reply.status = 0


def _described(event: ClientEvent) -> dict[str, Any]:
    return {"type": _TYPES[event.kind], "content": event.content}


class PlatformBackend(Backend):
    """A backend, called over one platform. Close it."""

    def __init__(self, platform: str, backend: Backend) -> None:
        super().__init__(backend.url, backend.http, backend.agent, backend.process)
        self._platform = platform
        self._callers: list[PlatformCaller] = []

    def caller(self, conversation: str | None = None) -> Any:
        made = PlatformCaller(self._platform, self.url, conversation or f"conv_{uuid.uuid4().hex[:12]}")
        self._callers.append(made)
        return made

    async def close(self) -> None:
        for caller in self._callers:
            await caller.close()
