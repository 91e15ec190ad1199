"""The wires over which the playground can hold a conversation, beside Layercode's webhooks.

A platform's own client plays its part (api/platforms/client.py). It talks to routes that exist in this process only,
with secrets made for this run: nothing is added to what the server's port, or a tunnel, leads to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
from fastapi import FastAPI

from agent.agent import Agent
from agent.json_values import replace_surrogates
from api.platforms import (
    CLIENTS,
    CallDetails,
    ClientEvent,
    Network,
    PlatformClient,
    SocketClient,
    Unreachable,
    Unsupported,
    in_process,
    open_client,
)
from api.platforms.platform import Services
from api.platforms.registry import PLATFORMS
from api.playground.conversation import WEBHOOKS, Conversation
from api.playground.webhooks import WebhookFailed, WebhookRequest
from api.settings import NotConfigured, Settings, new_secret

_HANGING_UP = 5.0  # seconds
_IS_OVER = "The call is over. Reconnect calls again, and New begins another conversation."
_OTHER_BACKEND = "Another backend is reached by Layercode's webhooks only."

Notify = Callable[[dict[str, Any]], Awaitable[None]]


class Wires:
    """Opens calls to this server's agent. missing: by wire, why it cannot be used, in a sentence. with_keys: those on
    which the caller can press keys."""

    def __init__(self, settings: Settings, agent: Callable[[], Agent], http: Callable[[], httpx.AsyncClient]) -> None:
        self.missing: dict[str, str] = {}
        self.with_keys: list[str] = []
        self._settings = _private(settings)
        self._app = FastAPI(openapi_url=None)
        self._network: Network | None = None
        services = Services(self._settings, agent, http, lambda _: None)
        for name, kind in CLIENTS.items():
            platform = next(platform for platform in PLATFORMS if platform.secret == kind.secret)
            if name != WEBHOOKS:
                self.with_keys += [name] if platform.abilities.dtmf_in else []
                try:
                    for router in platform.routers(services):
                        self._app.include_router(router)
                except ImportError:
                    self.missing[name] = f"This needs packages that are not installed: uv sync --extra {kind.extra}."

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While calls can be opened."""
        async with in_process(self._app) as self._network:
            yield

    def open(self, conversation: Conversation, notify: Notify) -> PlatformCall:
        """The call of a conversation. One that had been left is taken up again: its client knows what was said."""
        assert self._network is not None  # noqa: S101 - for the type: the server runs
        terms = conversation.terms
        if conversation.call is None:
            details = CallDetails(conversation.id, terms.from_phone_number, terms.custom_metadata)
            conversation.call = open_client(terms.wire, self._network, self._settings, details)
        return PlatformCall(conversation.call, notify)


def missing_wires(wires: Wires | None) -> dict[str, str]:
    """By wire, why it cannot be used. wires: None for another backend."""
    return wires.missing if wires else {name: _OTHER_BACKEND for name in CLIENTS if name != WEBHOOKS}


def _private(settings: Settings) -> Settings:
    """With every platform on. A silent visitor is not asked whether they are there: a page may stay open for hours."""
    secrets = {kind.secret: new_secret() for name, kind in CLIENTS.items() if name != WEBHOOKS}
    return settings.model_copy(update={**secrets, "public_url": None, "idle_seconds": None})


class PlatformCall:
    """One call, for a session: it does what WebhookClient does. notify: sends the page a message."""

    def __init__(self, client: PlatformClient, notify: Notify) -> None:
        self._client = client
        self._notify = notify
        self._events: asyncio.Queue[ClientEvent] = asyncio.Queue()  # of answers
        self._has_begun = self._is_over = False
        self._reading = asyncio.create_task(self._read(), name="call")

    @property
    def has_keys(self) -> bool:
        return self._client.abilities.dtmf_in

    def request(self, type_: str, _: str, *, text: str = "", digits: str = "", **__: Any) -> WebhookRequest:
        """What was heard of an interrupted answer is not in it: `interrupted` has told the client."""
        words = replace_surrogates(text) if type_ == "message" else None
        return WebhookRequest(b"", text=words, digits=digits)

    async def stream(self, request: WebhookRequest) -> AsyncGenerator[dict[str, Any]]:
        """Say it, or begin the call, and yield the answer as Layercode's events."""
        try:
            may_answer = await self._ask(request)
        except (Unreachable, NotConfigured) as error:
            raise WebhookFailed(str(error)) from None
        finally:
            request.reached.set()
        while may_answer:
            event = await self._events.get()
            if event.answer != self._client.answers and event.kind != "closed":
                continue
            match event.kind:
                case "say":
                    yield {"type": "response.tts", "content": event.content}
                case "show":
                    yield {"type": "response.data", "content": event.content}
                case "failed":
                    raise WebhookFailed(f"The call has failed: {event.content}")
                case "end" | "closed":
                    return

    async def interrupted(self, heard: str) -> None:
        """The caller has spoken into the newest answer, or into its playing."""
        with suppress(Unreachable):
            await self._client.interrupt(heard)

    async def send_data(self, _: str, data: Any) -> Any:
        try:
            await self._client.send_data(data)
        except Unsupported as error:
            raise WebhookFailed(f"This cannot be sent: {error}.") from None

    async def repeat_last(self) -> tuple[int, bool]:
        raise WebhookFailed("Only Layercode's webhooks can be sent once more here.")

    async def end(self, **_: Any) -> None:
        """The caller hangs up."""
        with suppress(TimeoutError, Unreachable):
            await asyncio.wait_for(self._client.hang_up(), _HANGING_UP)

    async def close(self) -> None:
        self._reading.cancel()
        await self._client.drop()

    async def _ask(self, request: WebhookRequest) -> bool:
        """Whether there is an answer to it."""
        client, text = self._client, request.text
        if self._is_over:
            raise WebhookFailed(_IS_OVER)
        answers = client.answers
        if not self._has_begun and isinstance(client, SocketClient) and answers:
            await client.connect()  # a call that goes on is not greeted again
        elif not self._has_begun and (client.must_begin or text is None) and not answers:
            await client.begin()
        self._has_begun = True
        if request.digits:
            await client.press(request.digits)
        elif text is not None:
            await client.say(text)
        await client.taken() if client.answers else None
        return client.answers > answers

    async def _read(self) -> None:
        """Pass on the answers' events, and tell the page what becomes of the call, also after an answer."""
        while True:
            event = await self._client.event()
            if event.kind == "control":
                await self._notify({"type": "playground.control", **event.content})
            else:
                self._events.put_nowait(event)
            if event.kind == "closed":
                self._is_over = True
                await self._notify({"type": "playground.control", "action": "closed", "value": ""})
