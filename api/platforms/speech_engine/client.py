"""A conversation as ElevenLabs' Speech Engine holds it: one socket, the whole history with each thing that is said."""

from __future__ import annotations

import hashlib
import re
import time
from typing import Any

from api.platforms.abilities import SPEECH_ENGINE
from api.platforms.client import CallDetails
from api.platforms.network import Network, Socket, Unreachable
from api.platforms.socket_client import SocketClient

PATH = "/elevenlabs/speech-engine"
HEADER = "X-Elevenlabs-Speech-Engine-Authorization"
_CLAIMS = {"iss": "https://api.elevenlabs.io/convai/speech-engine", "sub": "convai_speech_engine_upstream"}
_SECONDS = 300


def token(api_key: str) -> str:
    """The JWT of a handshake, made now. ImportError without the extra `elevenlabs`."""
    import jwt

    key = re.sub(r"_residency_\w+$", "", api_key.strip())
    now = int(time.time())
    claims = {**_CLAIMS, "iat": now, "exp": now + _SECONDS}
    return jwt.encode(claims, hashlib.sha256(key.encode()).digest(), algorithm="HS256")


class SpeechEngineClient(SocketClient):
    """history: what was said, as it is sent with each request; the agent's lines as far as they were heard. event_id:
    of the newest one. words: of the newest answer, as far as they were heard."""

    abilities = SPEECH_ENGINE

    def __init__(self, network: Network, call: CallDetails, api_key: str) -> None:
        super().__init__(network, call)
        self.history: list[dict[str, str]] = []
        self._api_key = api_key
        self.event_id = 0
        self.words = ""
        self._over = True

    async def begin(self) -> None:
        await self.connect()

    async def say(self, text: str) -> None:
        if self.words.strip():
            self.history.append({"role": "agent", "content": self.words.strip()})
        self.history.append({"role": "user", "content": text})
        self.event_id += 1
        await self._request()

    async def duplicate(self) -> None:
        if not self.is_connected:
            await self.connect()
        await self._request()

    async def interrupt(self, heard: str | None = None) -> None:
        """The server learns of it by the next thing that is said."""
        if heard is not None:
            self.words = heard
        if not self._over:
            self._over = True
            self._cut()

    async def hang_up(self) -> None:
        if self.is_connected:
            await self._send({"type": "close"})
        await self.drop()

    async def _open(self) -> Socket:
        authorization = f"Bearer {token(self._api_key)}"
        socket = await self._network.open_socket(PATH, {HEADER: authorization})
        await self._send({"type": "init", "conversation_id": self.call.conversation_id}, socket)
        return socket

    async def _request(self) -> None:
        self._new_answer()
        self.words, self._over = "", False
        frame = {"type": "user_transcript", "event_id": self.event_id, "user_transcript": self.history}
        try:
            await self._send(frame)
        except Unreachable as error:
            self._emit(self.answers, "failed", str(error))

    async def _take(self, frame: dict[str, Any]) -> bool:
        """Answers to an outdated event are dropped."""
        if frame.get("type") != "agent_response" or frame["event_id"] != self.event_id or self._over:
            return True
        if frame["content"]:
            self.words += frame["content"]
            self._emit(self.answers, "say", frame["content"])
        if frame["is_final"]:
            self._over = True
            self._emit(self.answers, "end", "complete")
        return True
