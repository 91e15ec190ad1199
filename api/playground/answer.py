"""One answer: a webhook, the client's messages that its stream becomes, and how far it has been spoken."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any

from agent.failures import log_failure
from api.playground.conversation import Cut
from api.playground.playback import Playback
from api.playground.speaker import Mute
from api.playground.webhooks import Request, WebhookFailed

log = logging.getLogger(__name__)

_LONGEST = 200_000  # characters
_GRACE = 0.25  # seconds an interrupted request gets to reach the backend: what the caller said must not be lost

Send = Callable[[dict[str, Any]], Awaitable[None]]
OpenStream = Callable[[Request], AsyncGenerator[dict[str, Any]]]


class Answer:
    """turn_id: the webhook's and the client's. text: what has come of it. waited: seconds until its first word.

    open_stream: sends the request and gives the events of its answer; it raises WebhookFailed.
    """

    def __init__(self, turn_id: str, request: Request, open_stream: OpenStream, send: Send) -> None:
        self.turn_id = turn_id
        self.text = ""
        self.waited: float | None = None
        self._playback = Playback()
        self._began = asyncio.get_running_loop().time()
        self._request = request
        self._open_stream = open_stream
        self._to_client = send
        self._speaker = Mute(self._audio, self._playback)
        self._started = False
        self._had_audio = False
        self._task: asyncio.Task[None] | None = None

    def begin(self, over: Callable[[Answer], Awaitable[None]]) -> None:
        """`over` is called when it has been spoken to its end."""
        self._task = asyncio.create_task(self._run(over), name="answer")

    def cut(self) -> Cut:
        """By now."""
        return Cut(self.turn_id, self.text, self._playback.heard(asyncio.get_running_loop().time()))

    async def drop(self) -> None:
        """Send and speak nothing more, and drop the webhook's request."""
        if self._task is None:
            return
        self._to_client = _nowhere
        self._request.hurry.set()
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._request.reached.wait(), _GRACE)
        finally:
            self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self, over: Callable[[Answer], Awaitable[None]]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._speaker.run())
                await self._read()
                self._speaker.end()
        except* Exception as errors:  # noqa: BLE001 - whatever went wrong, the answer still has its end
            log_failure(log, "an answer could not be spoken", errors.exceptions[0])
        await self._start()
        if not self._had_audio:
            await self._audio("")
        await self._send("response.end")
        await over(self)

    async def _read(self) -> None:
        try:
            async with aclosing(self._open_stream(self._request)) as events:
                async for event in events:
                    await self._pass_on(event)
        except WebhookFailed as failure:
            await self._to_client({"type": "playground.error", "error": str(failure)})

    async def _pass_on(self, event: Mapping[str, Any]) -> None:
        match event:
            case {"type": "response.tts", "content": str(text)}:
                await self._say(text)
            case {"type": "response.data", "content": data}:
                await self._send("response.data", content=data)
            case {"type": "response.error"}:
                raise WebhookFailed("The backend reported an error in mid-answer. Its log may say more.")

    async def _say(self, text: str) -> None:
        if not text:
            return
        if len(self.text) + len(text) > _LONGEST:
            raise WebhookFailed(f"The answer is longer than {_LONGEST:,} characters; the rest was dropped.")
        await self._start()
        if self.waited is None:
            self.waited = asyncio.get_running_loop().time() - self._began
        self.text += text
        self._speaker.feed(text)
        await self._send("response.text", content=text)

    async def _start(self) -> None:
        if not self._started:
            self._started = True
            await self._send("turn.start", role="assistant")

    async def _audio(self, content: str) -> None:
        self._had_audio = True
        await self._send("response.audio", content=content)

    async def _send(self, type_: str, **fields: Any) -> None:
        await self._to_client({"type": type_, **fields, "turn_id": self.turn_id})


async def _nowhere(_: dict[str, Any]) -> None:
    """Where a dropped answer's messages go."""
