"""One webhook over ASGI, as a server would carry it, and the caller's end of the line: for replay and for tests."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fastapi import FastAPI

from agent.replay import run_file as runs
from api.platforms.layercode import signed_headers, webhook_body

SECRET = f"whsec_{secrets.token_hex(16)}"


@dataclass
class Heard:
    """A stream as it came. sent: [ms, kind, content]. raw: its bytes. ended: how many response.end. over: ms when
    that came, or the line was dropped. hung_up: whether the line was dropped before that."""

    sent: list[tuple[int, Literal["say", "show", "control"], Any]] = field(default_factory=list)
    raw: bytes = b""
    ended: int = 0
    over: int | None = None
    hung_up: bool = False


def words_of(sent: Sequence[tuple[int, str, Any]]) -> str:
    """What was said among what was sent."""
    return "".join(content for _, kind, content in sent if kind == "say")


class FakePlatform:
    """One webhook over ASGI, as a server would carry it, and the caller's end of the line. heard: what came so far."""

    def __init__(self, app: FastAPI, turn: runs.RecordedTurn) -> None:
        self._app = app
        self._turn = turn
        self._body: bytes | None = request_body(turn.webhook)
        self.heard = Heard()
        self._news = asyncio.Event()
        self._dropped = asyncio.Event()
        self._began = asyncio.get_running_loop().time()

    async def talk(self) -> Heard:
        headers = signed_headers(SECRET, self._body or b"").items()
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": "/api/agent", "raw_path": b"/api/agent", "query_string": b"", "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
            "client": None, "server": None, "state": {},
        }  # fmt: skip
        hanging_up = asyncio.create_task(self._hang_up()) if self._turn.hung_up else None
        try:
            await self._app(scope, self._receive, self._send)
        finally:
            if hanging_up:
                hanging_up.cancel()
        return self.heard

    async def _hang_up(self) -> None:
        """At the recorded moment, and not before as much was heard as then."""
        moment = self._turn.hung_up
        assert moment is not None  # noqa: S101 - for the type
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._began + moment.ms / 1000 - loop.time()))
        while len(self.heard.sent) < moment.events:
            self._news.clear()
            await self._news.wait()
        self.drop()

    def drop(self) -> None:
        """Drop the line now: nothing more comes through."""
        self.heard.hung_up = not self.heard.ended
        if self.heard.hung_up:
            self.heard.over = self._ms()
        self._dropped.set()

    async def _receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._dropped.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        body = message.get("body", b"")
        if not body.startswith(b"data: "):
            return
        if self._turn.hung_up and len(self.heard.sent) >= self._turn.hung_up.events:
            await asyncio.Event().wait()  # nothing more came through then; the response is cancelled here
        if self._dropped.is_set():
            return
        event = json.loads(body.removeprefix(b"data: "))
        ms = self._ms()
        self.heard.raw += body
        if event["type"] == "response.end":
            self.heard.ended += 1
            self.heard.over = ms
        else:
            self.heard.sent.append((ms, "say" if event["type"] == "response.tts" else "show", event["content"]))
        self._news.set()

    def _ms(self) -> int:
        return round((asyncio.get_running_loop().time() - self._began) * 1000)


def request_body(webhook: runs.Webhook) -> bytes:
    """The recorded request in Layercode's words."""
    kinds = {"message": "message", "welcome": "session.start", "data": "data"}
    heard, caller = webhook.get("heard"), webhook.get("caller")
    told = {"language": webhook["language"]} if webhook.get("language") else {}
    fields = {name: value for name, value in webhook.items() if name in ("turn_id", "text", "data")}
    return webhook_body(
        kinds[webhook["kind"]],
        webhook["conversation_id"],
        session_id="replay",
        custom_metadata={**webhook.get("metadata", {}), **told},
        heard=(heard.get("turn_id"), heard["text"]) if heard else None,
        **fields,
        **({"from_phone_number": caller} if caller else {}),
    )
