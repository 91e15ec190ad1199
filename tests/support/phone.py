"""A phone call over ConversationRelay's frames, as Twilio holds it: signed handshake, setup, prompts, interruptions."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from twilio.request_validator import RequestValidator
from websockets.asyncio.client import ClientConnection, connect

TOKEN = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"


def signature(url: str, fields: dict[str, str] | None = None, token: str = TOKEN) -> dict[str, str]:
    return {"X-Twilio-Signature": str(RequestValidator(token).compute_signature(url, fields or {}))}


@dataclass
class Phone:
    """frames: (seconds, frame) as they came."""

    socket: ClientConnection
    call: str
    frames: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    _read: int = 0

    async def send(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def say(self, words: str, *, last: bool = True, lang: str = "en-US") -> None:
        await self.send(type="prompt", voicePrompt=words, lang=lang, last=last)

    async def interrupt(self, heard: str | None = None, ms: float = 300) -> None:
        more = {} if heard is None else {"utteranceUntilInterrupt": heard}
        await self.send(type="interrupt", durationUntilInterruptMs=ms, **more)

    async def press(self, digits: str) -> None:
        for digit in digits:
            await self.send(type="dtmf", digit=digit)

    async def frame(self, patience: float = 20) -> dict[str, Any]:
        async with asyncio.timeout(patience):
            data = await self.socket.recv()
        frame: dict[str, Any] = json.loads(data)
        self.frames.append((time.monotonic(), frame))
        return frame

    async def answer(self, patience: float = 20) -> str:
        """The words up to the end of an answer."""
        words = ""
        while True:
            frame = await self.frame(patience)
            if frame["type"] == "text":
                words += str(frame["token"])
                if frame["last"]:
                    return words

    async def words(self, least: int, patience: float = 20) -> str:
        """At least so many characters of an answer."""
        words = ""
        while len(words) < least:
            words += str((await self.frame(patience)).get("token", ""))
        return words


@asynccontextmanager
async def phone(url: str, call: str | None = None, token: str = TOKEN, **setup: Any) -> AsyncIterator[Phone]:
    """Dial in at a server's http URL."""
    relay = url.replace("http", "ws", 1) + "/twilio/relay"
    call = call or f"CA{uuid.uuid4().hex}"
    async with connect(relay, additional_headers=signature(relay, token=token), ping_interval=None) as socket:
        made = Phone(socket, call)
        fields = {"sessionId": f"VX{uuid.uuid4().hex}", "accountSid": "AC1", "callSid": call, "from": "+493012345678"}
        await made.send(type="setup", **{**fields, "to": "+15005550006", "customParameters": {}, **setup})
        yield made
