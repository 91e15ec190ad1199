"""A turn as OpenAI's chunks, or as one object."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

from agent.turns import CallControl, Event, Say

DONE = b"data: [DONE]\n\n"


async def nothing() -> AsyncIterator[Event]:
    """The events of an answer that has none."""
    none: tuple[Event, ...] = ()
    for event in none:
        yield event


class Chunks:
    """Makes the chunks of one answer. tools: the client's own, by what they do: (name, argument for the value)."""

    def __init__(self, model: str, tools: Mapping[str, tuple[str, str | None]]) -> None:
        self._tools = tools
        self._common = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}

    async def stream(self, events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
        called = 0
        yield self._chunk({"role": "assistant", "content": ""})
        async for event in events:
            if isinstance(event, Say):
                yield self._chunk({"content": event.text})
            elif isinstance(event, CallControl):
                yield self._chunk({"tool_calls": [{"index": called, **self._call(event)}]})
                called += 1
        yield self._chunk({}, finish="tool_calls" if called else "stop")
        yield DONE

    async def whole(self, events: AsyncIterator[Event]) -> dict[str, Any]:
        words, called = "", []
        async for event in events:
            if isinstance(event, Say):
                words += event.text
            elif isinstance(event, CallControl):
                called.append(self._call(event))
        message = {"role": "assistant", "content": words, **({"tool_calls": called} if called else {})}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if called else "stop"}
        usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        return {**self._common, "object": "chat.completion", "choices": [choice], "usage": usage}

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        body = {**self._common, "object": "chat.completion.chunk", "choices": choices}
        return f"data: {json.dumps(body, ensure_ascii=False)}\n\n".encode()

    def _call(self, control: CallControl) -> dict[str, Any]:
        name, argument = self._tools[control.action]
        arguments = {"reason": control.reason} if control.reason else {}
        if argument:
            arguments[argument] = control.value
        function = {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
        return {"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": function}
