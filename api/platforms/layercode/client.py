"""The platform's side: webhooks as Layercode sends them (protocol sheet §1 to §3), and its part in a call.

For all that stands in for Layercode: `voice say`, the tunnel's probe, the playground, replay and the tests.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import httpx

from api.platforms.abilities import LAYERCODE
from api.platforms.client import CallDetails, EventKind
from api.platforms.http_client import HttpClient
from api.platforms.layercode import signature
from api.platforms.network import Network

PATH = "/api/agent"
_SESSION = "session_1"
_KINDS: dict[str, EventKind] = {"response.tts": "say", "response.data": "show", "response.end": "end"}


def webhook_body(
    kind: str, conversation_id: str, *, heard: tuple[str | None, str] | None = None, **fields: Any
) -> bytes:
    """A webhook. kind: its `type`. heard: (turn_id, text) of the interrupted turn, None for the one before this."""
    context = {"interruption_context": interruption_context(*heard)} if heard else {}
    body = {"type": kind, "conversation_id": conversation_id, **fields, **context}
    return compact_json(body).encode(errors="replace")


def interruption_context(turn_id: str | None, text: str, words: int | None = None) -> dict[str, Any]:
    """What the caller heard of an interrupted turn (§2.3)."""
    return {
        "previous_turn_interrupted": True,
        "words_heard": len(text.split()) if words is None else words,
        "text_heard": text,
        "assistant_turn_id": turn_id,
    }


def compact_json(body: Mapping[str, Any]) -> str:
    """For raw UTF-8: that also verifies in backends that parse and serialise a body again (§3)."""
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def signed_headers(secret: str, body: bytes, at: float | None = None) -> dict[str, str]:
    """The headers of a webhook, signed at that time (Unix seconds), or now."""
    value = signature.sign(secret, body, int(time.time() if at is None else at))
    return {"Content-Type": "application/json", signature.HEADER: value}


class LayercodeClient(HttpClient):
    """A call on Layercode. secret: what webhooks are signed with."""

    abilities = LAYERCODE

    def __init__(self, network: Network, call: CallDetails, secret: str) -> None:
        super().__init__(network, call, PATH)
        self._secret = secret
        self._turn_ids: dict[int, str] = {}
        self._heard: tuple[str | None, str] | None = None

    async def begin(self) -> None:
        self.ask("session.start", self._next_id())

    async def say(self, text: str) -> None:
        self.ask("message", self._next_id(), text=text, heard=self._heard)

    async def interrupt(self, heard: str | None = None) -> None:
        if heard is not None and self.answers:
            self._heard = self._turn_ids[self.answers], heard
        await super().interrupt(heard)

    async def duplicate(self) -> None:
        self._turn_ids[self.answers + 1] = self._turn_ids[self.answers]
        await super().duplicate()

    async def send_data(self, data: Any) -> None:
        await self.post("data", turn_id=self._turn_ids.get(self.answers), data=data)

    async def hang_up(self) -> None:
        await super().hang_up()
        await self.post("session.end")

    def ask(self, kind: str, turn_id: str, *, heard: tuple[str | None, str] | None = None, **fields: Any) -> None:
        """Send a webhook that is answered by a stream. kind: its `type`. heard: (turn_id, text) of the interrupted
        turn."""
        self._heard = None
        self._turn_ids[self.answers + 1] = turn_id
        self._ask(self._webhook(kind, heard=heard, turn_id=turn_id, **fields))

    def _next_id(self) -> str:
        return f"turn_{self.answers + 1}"

    def _webhook(self, kind: str, **fields: Any) -> bytes:
        number, metadata = self.call.number, self.call.metadata
        if number:
            fields["from_phone_number"] = number
        if metadata:
            fields["custom_metadata"] = metadata
        return webhook_body(kind, self.call.conversation_id, session_id=_SESSION, **fields)

    async def post(self, kind: str, **fields: Any) -> None:
        """A webhook that is answered by a status."""
        body = self._webhook(kind, **fields)
        self._log("in", body.decode())
        try:
            await self._network.http.post(self._path, content=body, headers=self._headers(body))
        except httpx.HTTPError as error:
            self._emit(self.answers, "failed", f"A webhook was not taken: {type(error).__name__}.")

    def _headers(self, body: bytes) -> dict[str, str]:
        return signed_headers(self._secret, body)

    def _read_event(self, data: str) -> tuple[Any, list[tuple[EventKind, Any]]]:
        event = json.loads(data)
        kind = _KINDS.get(event.get("type"))
        return event, [(kind, "complete" if kind == "end" else event.get("content"))] if kind else []
