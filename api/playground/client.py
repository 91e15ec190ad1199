"""The client's side of a socket: JSON in text frames, in both directions."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from agent.json_values import to_json
from api.platforms import json_object


class Client:
    """A connected client. After it has disconnected, what is sent is discarded.

    playground: whether it takes `playground.…` messages, as the page does; otherwise these are not sent.
    """

    def __init__(self, socket: WebSocket, *, playground: bool) -> None:
        self._socket = socket
        self._playground = playground

    @property
    def address(self) -> str | None:
        return self._socket.client.host if self._socket.client else None

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """Yield its messages, until it disconnects. What is not a JSON object is reported to it and skipped."""
        with suppress(WebSocketDisconnect):
            while (message := await self._socket.receive())["type"] != "websocket.disconnect":
                fields = json_object((message.get("text") or "").encode(errors="replace"))
                if fields is None:
                    await self.error("A message was no JSON object, so it was ignored.")
                else:
                    yield fields

    async def send(self, message: dict[str, Any]) -> None:
        if self._playground or not message["type"].startswith("playground."):
            with suppress(RuntimeError, WebSocketDisconnect):
                await self._socket.send_text(_json(message))

    async def error(self, sentence: str) -> None:
        """Send a `playground.error`: a sentence that says what happened, and what to do."""
        await self.send({"type": "playground.error", "error": sentence})

    async def close(self, code: int, reason: str) -> None:
        with suppress(RuntimeError, WebSocketDisconnect):
            await self._socket.close(code, reason)


def _json(message: dict[str, Any]) -> str:
    try:
        return json.dumps(message, allow_nan=False)
    except (ValueError, RecursionError):  # such as a backend's 1e999, which is read as infinity
        return json.dumps(to_json(message))
