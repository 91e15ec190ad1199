"""The clients of platforms whose every request is answered by a stream of server-sent events."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator
from typing import Any

import httpx
from httpx_sse import EventSource, SSEError

from api.platforms.client import CallDetails, ClientEvent, EventKind, PlatformClient
from api.platforms.network import Network
from api.platforms.tasks import cancel


class HttpClient(PlatformClient):
    """path: of the requests. words: by answer, what was said so far. came: the data of all events, a line for each."""

    def __init__(self, network: Network, call: CallDetails, path: str) -> None:
        super().__init__(network, call)
        self.words: dict[int, str] = {}
        self.came = ""
        self._path = path
        self._body = b""
        self._begun = asyncio.Event()
        self._reading: dict[int, asyncio.Task[None]] = {}

    @abstractmethod
    def _headers(self, body: bytes) -> dict[str, str]:
        """Of a request, signed."""

    @abstractmethod
    def _read_event(self, data: str) -> tuple[Any, list[tuple[EventKind, Any]]]:
        """One server-sent event: the frame, and what it means; ("end", "complete") once."""

    async def duplicate(self) -> None:
        before = self._reading.get(self.answers)
        self._ask(self._body)
        await self.taken()
        if before:
            await cancel(before)

    async def interrupt(self, heard: str | None = None) -> None:
        reading = self._reading.pop(self.answers, None)
        if reading and not reading.done():
            self._cut()
            await cancel(reading)

    async def taken(self) -> None:
        await self._begun.wait()

    async def rest(self) -> list[ClientEvent]:
        """What still comes of the newest answer, until the server closes its stream."""
        if reading := self._reading.get(self.answers):
            await asyncio.wait([reading])
        return [self._events.get_nowait() for _ in range(self._events.qsize())]

    async def hang_up(self) -> None:
        await self.drop()

    async def drop(self) -> None:
        for task in list(self._reading.values()):
            await cancel(task)
        self._reading.clear()

    def _ask(self, body: bytes) -> None:
        """Send a request, and read the answer in a task."""
        answer = self._new_answer()
        self._begun = begun = asyncio.Event()  # set once the answer has begun, or there is none
        self._body = body
        self._log("in", body.decode())
        task = asyncio.create_task(self._read(answer, body, begun), name="answer")
        self._reading[answer] = task

    async def _read(self, answer: int, body: bytes, begun: asyncio.Event) -> None:
        self.words[answer], ended = "", False
        try:
            sent = self._network.http.stream("POST", self._path, content=body, headers=self._headers(body))
            async with sent as response:
                begun.set()
                if response.status_code != httpx.codes.OK:
                    self._emit(answer, "failed", f"{response.status_code}: {(await response.aread()).decode()[:500]}")
                    return
                async for data in self._data(response, answer):
                    self.came += f"{data}\n"
                    frame, events = self._read_event(data)
                    self._log("out", frame)
                    for kind, content in events:
                        ended = ended or kind == "end"
                        self.words[answer] += content if kind == "say" else ""
                        self._emit(answer, kind, content)
            if not ended:
                self._emit(answer, "failed", "The stream broke off before its end.")
        except (httpx.HTTPError, SSEError, ValueError, LookupError) as error:
            self._emit(answer, "failed", f"No answer, or no rest of it: {type(error).__name__}.")
        finally:
            begun.set()

    async def _data(self, response: httpx.Response, answer: int) -> AsyncIterator[str]:
        events = EventSource(response).aiter_sse()
        while True:
            if answer == self.answers:
                await self._may_read()
            event = await anext(events, None)
            if event is None:
                return
            if event.data:
                yield event.data
