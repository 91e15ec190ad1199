"""One answer: sends a webhook, passes its stream on to the client as messages, and tracks how much has been played."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any

from agent.failures import log_failure
from api.platforms.playback import Playback
from api.playground.conversation import InterruptedAnswer
from api.playground.pacer import PlaybackPacer
from api.playground.webhooks import WebhookFailed, WebhookRequest

log = logging.getLogger(__name__)

_MAX_CHARACTERS = 200_000
_GRACE = 0.25  # seconds that an interrupted request gets to reach the backend, so that the caller's words are not lost

Send = Callable[[dict[str, Any]], Awaitable[None]]
OpenStream = Callable[[WebhookRequest], AsyncGenerator[dict[str, Any]]]


class Answer:
    """The answer to one webhook.

    turn_id: of the webhook and of the client's messages. text: what has arrived of the answer. latency: seconds until
    its first word, None before. open_stream: sends the request and yields the events of the response; it raises
    WebhookFailed. send: sends a message to the client.
    """

    def __init__(self, turn_id: str, request: WebhookRequest, open_stream: OpenStream, send: Send) -> None:
        self.turn_id = turn_id
        self.text = ""
        self.latency: float | None = None
        self._request = request
        self._open_stream = open_stream
        self._send_to_client = send
        self._playback = Playback()
        self._pacer = PlaybackPacer(self._send_audio, self._playback)
        self._created_at = asyncio.get_running_loop().time()
        self._turn_started = False
        self._audio_sent = False
        self._task: asyncio.Task[None] | None = None

    def start(self, on_played: Callable[[Answer], Awaitable[None]]) -> None:
        """Send the request in a task. `on_played` is called when the answer has been played to its end."""
        self._task = asyncio.create_task(self._run(on_played), name="answer")

    def interrupted_now(self) -> InterruptedAnswer:
        """What has arrived and what has been played by now."""
        return InterruptedAnswer(self.turn_id, self.text, self._playback.heard(asyncio.get_running_loop().time()))

    async def cancel(self) -> None:
        """Send the client nothing more, and cancel the webhook's request."""
        if self._task is None:
            return
        self._send_to_client = _discard
        self._request.skip_delay.set()
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._request.reached.wait(), _GRACE)
        finally:
            self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self, on_played: Callable[[Answer], Awaitable[None]]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pacer.run())
                await self._read()
                self._pacer.end()
        except* Exception as errors:  # noqa: BLE001 - the client gets the answer's end after any failure
            log_failure(log, "an answer could not be spoken", errors.exceptions[0])
        await self._send_turn_start()
        if not self._audio_sent:
            await self._send_audio("")
        await self._send("response.end")
        await on_played(self)

    async def _read(self) -> None:
        try:
            async with aclosing(self._open_stream(self._request)) as events:
                async for event in events:
                    await self._handle(event)
        except WebhookFailed as failure:
            await self._send_to_client({"type": "playground.error", "error": str(failure)})

    async def _handle(self, event: Mapping[str, Any]) -> None:
        match event:
            case {"type": "response.tts", "content": str(text)}:
                await self._add_text(text)
            case {"type": "response.data", "content": data}:
                await self._send("response.data", content=data)
            case {"type": "response.error"}:
                raise WebhookFailed("The backend reported an error in mid-answer. Its log may say more.")

    async def _add_text(self, text: str) -> None:
        if not text:
            return
        if len(self.text) + len(text) > _MAX_CHARACTERS:
            raise WebhookFailed(f"The answer is longer than {_MAX_CHARACTERS:,} characters; the rest was dropped.")
        await self._send_turn_start()
        if self.latency is None:
            self.latency = asyncio.get_running_loop().time() - self._created_at
        self.text += text
        self._pacer.feed(text)
        await self._send("response.text", content=text)

    async def _send_turn_start(self) -> None:
        if not self._turn_started:
            self._turn_started = True
            await self._send("turn.start", role="assistant")

    async def _send_audio(self, content: str) -> None:
        self._audio_sent = True
        await self._send("response.audio", content=content)

    async def _send(self, type_: str, **fields: Any) -> None:
        await self._send_to_client({"type": type_, **fields, "turn_id": self.turn_id})


async def _discard(_: dict[str, Any]) -> None:
    """Takes the messages of a cancelled answer."""
