"""The floor: a relay written by hand for one purpose. Raw ASGI and aiohttp, no graph, memory in RAM, nothing kept
of what was heard, nothing journalled. What a turn costs beyond this is what the agent costs."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp
import uvicorn

from api.platforms.layercode import signature

_KEPT = 40
_START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
_TOOLS = [{"functionDeclarations": [{"name": "clock", "parameters": {"type": "OBJECT", "properties": {}}}]}]

Json = dict[str, Any]
Send = Callable[[Json], Awaitable[None]]


class Relay:
    def __init__(self, gemini: str, secret: str) -> None:
        self.url = f"{gemini}/v1beta/models/gemini-3.5-flash-lite:streamGenerateContent?alt=sse"
        self.secret = secret
        self.memory: dict[str, list[Json]] = {}
        self.http: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Json, receive: Callable[[], Awaitable[Json]], send: Send) -> None:
        if scope["path"] == "/readyz":
            await send(_START)
            return await send({"type": "http.response.body", "body": b"{}"})
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        header = dict(scope["headers"])[b"layercode-signature"].decode()
        signature.verify(self.secret, header, body, time.time())
        asked = json.loads(body)
        memory = self.memory[asked["conversation_id"]] = self.memory.get(asked["conversation_id"], [])[-_KEPT:]
        memory.append({"role": "user", "parts": [{"text": asked["text"]}]})
        await send(_START)
        while call := await self.answer(memory, asked["turn_id"], send):
            result = {"name": call["name"], "response": {"now": datetime.now(UTC).isoformat()}}
            memory.append({"role": "user", "parts": [{"functionResponse": result}]})
        await send(
            {"type": "http.response.body", "body": _event({"type": "response.end", "turn_id": asked["turn_id"]})}
        )
        return None

    async def answer(self, memory: list[Json], turn: str, send: Send) -> Json | None:
        text, call = [], None
        if self.http is None:
            self.http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        async with self.http.post(self.url, json={"contents": memory, "tools": _TOOLS}) as response:
            async for line in response.content:
                if not line.startswith(b"data: "):
                    continue
                for part in json.loads(line[6:])["candidates"][0]["content"].get("parts", []):
                    call = part.get("functionCall", call)
                    if words := part.get("text"):
                        text.append(words)
                        event = _event({"type": "response.tts", "content": words, "turn_id": turn})
                        await send({"type": "http.response.body", "body": event, "more_body": True})
        memory.append({"role": "model", "parts": [{"functionCall": call} if call else {"text": "".join(text)}]})
        return call


def _event(fields: Json) -> bytes:
    return b"data: " + json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


if __name__ == "__main__":
    relay = Relay(sys.argv[2], os.environ["LAYERCODE_WEBHOOK_SECRET"])
    config = uvicorn.Config(
        relay, host="127.0.0.1", port=int(sys.argv[1]), lifespan="off", log_config=None, access_log=False, backlog=4096
    )
    uvicorn.Server(config).run()
