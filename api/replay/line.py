"""One request over ASGI, as a server would carry it, and the caller's end of the line: for replay and for tests."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fastapi import FastAPI

from agent.replay import run_file as runs
from api.platforms.layercode import read_event, signed_headers, webhook_body

SECRET = f"whsec_{secrets.token_hex(16)}"

Way = Literal["in", "out"]
Sent = tuple[int, Literal["say", "show", "control"], Any]


@dataclass
class Heard:
    """A stream as it came. sent: [ms, kind, content]. frames: [ms, way, frame], on the wire. raw: its bytes. ended: how
    many ends it had. over: ms when that came, or the line was dropped. hung_up: whether the line was dropped before
    that."""

    sent: list[Sent] = field(default_factory=list)
    frames: list[tuple[int, Way, Any]] = field(default_factory=list)
    raw: bytes = b""
    ended: int = 0
    over: int | None = None
    hung_up: bool = False


def words_of(sent: Sequence[tuple[int, str, Any]]) -> str:
    """What was said among what was sent."""
    return "".join(content for _, kind, content in sent if kind == "say")


@dataclass(frozen=True)
class HttpRequest:
    """A request in a platform's words. read: what a server-sent event means: (frame, [(kind, content)]). carries: the
    kinds of events that reach the platform."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    read: Callable[[str], tuple[Any, Sequence[tuple[str, Any]]]]
    carries: frozenset[str] = frozenset({"say", "show"})

    def count(self, turn: runs.RecordedTurn, events: int) -> int:
        """How many of a turn's first events reach the platform."""
        return events - sum(kind not in self.carries for _, kind, _ in turn.sent[:events])


class FakePlatform:
    """One request over ASGI, as a server would carry it, and the caller's end of the line. request: by default the
    turn's webhook, as Layercode sends it. heard: what came so far."""

    def __init__(self, app: FastAPI, turn: runs.RecordedTurn, request: HttpRequest | None = None) -> None:
        self._app = app
        self._turn = turn
        self._request = request or layercode_request(turn.webhook)
        self._body: bytes | None = self._request.body
        self._least = self._request.count(turn, turn.hung_up.events) if turn.hung_up else 0
        self.heard = Heard()
        self._news = asyncio.Event()
        self._dropped = asyncio.Event()
        self._began = asyncio.get_running_loop().time()

    async def talk(self) -> Heard:
        path = self._request.path
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in self._request.headers.items()],
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
        while len(self.heard.sent) < self._least:
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
        if self._turn.hung_up and len(self.heard.sent) >= self._least:
            await asyncio.Event().wait()  # nothing more came through then; the response is cancelled here
        if self._dropped.is_set():
            return
        frame, events = self._request.read(body.decode().removeprefix("data: ").strip())
        ms = self._ms()
        self.heard.raw += body
        self.heard.frames.append((ms, "out", frame))
        for kind, content in events:
            if kind == "end":
                self.heard.ended += 1
                self.heard.over = ms
            else:
                self.heard.sent.append((ms, kind, content))  # type: ignore[arg-type]
        self._news.set()

    def _ms(self) -> int:
        return round((asyncio.get_running_loop().time() - self._began) * 1000)


def metadata_of(webhook: Mapping[str, Any]) -> dict[str, Any]:
    """What the platform passes on: with the language, which some tell by other means."""
    language = webhook.get("language")
    return {**webhook.get("metadata", {}), **({"language": language} if language else {})}


def layercode_request(webhook: runs.Webhook) -> HttpRequest:
    """The recorded request in Layercode's words."""
    kinds = {"message": "message", "welcome": "session.start", "data": "data"}
    heard, caller = webhook.get("heard"), webhook.get("caller")
    fields = {name: value for name, value in webhook.items() if name in ("turn_id", "text", "data")}
    body = webhook_body(
        kinds[webhook["kind"]],
        webhook["conversation_id"],
        session_id="replay",
        custom_metadata=metadata_of(webhook),
        heard=(heard.get("turn_id"), heard["text"]) if heard else None,
        **fields,
        **({"from_phone_number": caller} if caller else {}),
    )
    return HttpRequest("/api/agent", signed_headers(SECRET, body), body, read_event)
