"""A call behind a chat completions client, such as LiveKit or Pipecat: the whole conversation in each request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from api.platforms.abilities import COMPLETIONS
from api.platforms.client import CallDetails, EventKind
from api.platforms.completions.tools import TOOLS
from api.platforms.http_client import HttpClient
from api.platforms.network import Network

PATH = "/v1/chat/completions"
OWN_TOOLS = ("end_call", "transferCall", "dtmf")


class CompletionsClient(HttpClient):
    """key: the bearer key. messages: the conversation as the client has it. tools: the names of its own tools."""

    abilities = COMPLETIONS

    def __init__(self, network: Network, call: CallDetails, key: str) -> None:
        super().__init__(network, call, PATH)
        self.messages: list[dict[str, str]] = []
        self.tools: Sequence[str] = OWN_TOOLS
        self._key = key
        self._heard: str | None = None

    async def begin(self) -> None:
        self._request()

    async def say(self, text: str) -> None:
        heard = self.words.get(self.answers, "") if self._heard is None else self._heard
        if heard.strip():
            self.messages.append({"role": "assistant", "content": heard.strip()})
        self.messages.append({"role": "user", "content": text})
        self._request()

    async def interrupt(self, heard: str | None = None) -> None:
        self._heard = heard
        await super().interrupt(heard)

    def _request(self) -> None:
        self._heard = None
        call = self.call
        body = {
            "model": "voice-agent",
            "stream": True,
            "conversation_id": call.conversation_id,
            "messages": self.messages,
            "tools": [{"type": "function", "function": {"name": name}} for name in self.tools],
            **({"metadata": dict(call.metadata)} if call.metadata else {}),
            **({"customer": {"number": call.number}} if call.number else {}),
        }
        self._ask(json.dumps(body, ensure_ascii=False).encode())

    def _headers(self, body: bytes) -> dict[str, str]:
        return {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}

    def _read_event(self, data: str) -> tuple[Any, list[tuple[EventKind, Any]]]:
        if data == "[DONE]":
            return data, [("end", "complete")]
        chunk = json.loads(data)
        delta = chunk["choices"][0]["delta"]
        events: list[tuple[EventKind, Any]] = [("say", delta["content"])] if delta.get("content") else []
        events += [("control", _control(called["function"])) for called in delta.get("tool_calls", ())]
        return chunk, events


def _control(function: dict[str, Any]) -> dict[str, Any]:
    """What a call of the client's tool does to the call."""
    action, argument = TOOLS[function["name"]]
    arguments = json.loads(function["arguments"])
    value = arguments.get(argument, "") if argument else ""
    return {"action": action, "value": value, "reason": arguments.get("reason", "")}
