"""A platform's WebSocket: its frames in order, and what is sent to a peer that may be gone."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Generic, TypeVar

from fastapi import WebSocket, WebSocketDisconnect
from pydantic import TypeAdapter, ValidationError

from agent.json_values import replace_surrogates
from agent.tooling import HowEnded

log = logging.getLogger(__name__)

FIRST_FRAME_SECONDS = 10.0
POLICY_VIOLATION = 1008
_NORMAL = 1000
_PROTOCOL_ERROR = 1002
_MOST_BAD = 20  # frames that cannot be read, after which the socket is closed
_MOST_PER_SECOND = 200

Frame = TypeVar("Frame")


class BadFrame(Exception):
    """Not a frame. The text names the fields at fault, and none of their values."""


def read_frame(data: str, forms: TypeAdapter[Frame]) -> Frame | None:
    """The frame in a text; None for a type that none of the forms has. A lone surrogate, which JSON can spell
    (`\\ud800`) and no database can store, is replaced. BadFrame for what is no frame."""
    try:
        fields = json.loads(data)
        if "\\u" in data:
            fields = json.loads(replace_surrogates(json.dumps(fields, ensure_ascii=False)))
    except (ValueError, RecursionError):
        raise BadFrame("not JSON") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("type"), str):
        raise BadFrame("no type")
    try:
        return forms.validate_python(fields)
    except ValidationError as error:
        faults = error.errors()
        if faults[0]["type"] == "union_tag_invalid":
            return None
        places = {".".join(map(str, fault["loc"][1:])) for fault in faults}
        raise BadFrame(f"{fields['type']}: {', '.join(sorted(places))}") from None


class Frames(Generic[Frame]):
    """The frames of an accepted socket. parse: gives a frame, None for a type that is not known; else BadFrame.

    code: with which the peer has closed the socket; None before.
    """

    def __init__(self, socket: WebSocket, parse: Callable[[str], Frame | None]) -> None:
        self._socket = socket
        self._parse = parse
        self.code: int | None = None
        self._bad = 0
        self._second, self._count = 0, 0

    async def first(self) -> Frame | None:
        """The first one; None when none comes in time, or the socket is closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_FRAME_SECONDS):
                return await anext(aiter(self), None)
        return None

    async def __aiter__(self) -> AsyncIterator[Frame]:
        """Until the socket is closed. A peer that sends too many, or too many that cannot be read, is cut off."""
        while self._bad < _MOST_BAD and not self._is_flooded():
            try:
                data = await self._socket.receive_text()
            except WebSocketDisconnect as closed:
                self.code = closed.code
                return
            except RuntimeError:
                return
            except KeyError:  # a binary frame
                self._bad += 1
                continue
            try:
                frame = self._parse(data)
            except BadFrame as bad:
                self._bad += 1
                log.warning("a frame was ignored: %s", bad)
                continue
            if frame is not None:
                yield frame
        log.warning("a socket was closed: too many frames, or too many that cannot be read")
        await close(self._socket)

    @property
    def how_ended(self) -> HowEnded:
        """What the way in which the socket was closed says of the call."""
        return "caller hung up" if self.code == _NORMAL else "dropped"

    def _is_flooded(self) -> bool:
        second = int(asyncio.get_running_loop().time())
        self._count = self._count + 1 if second == self._second else 0
        self._second = second
        return self._count > _MOST_PER_SECOND


async def close(socket: WebSocket) -> None:
    """As a peer that does not speak the protocol."""
    with suppress(WebSocketDisconnect, RuntimeError):
        await socket.close(_PROTOCOL_ERROR)


async def send(socket: WebSocket, frame: str) -> None:
    """A peer that is gone is noticed where its frames are read."""
    with suppress(WebSocketDisconnect, RuntimeError):
        await socket.send_text(frame)
