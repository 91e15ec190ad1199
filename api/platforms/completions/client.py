"""A call behind a chat completions client, such as LiveKit or Pipecat: the whole conversation in each request."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from api.platforms.abilities import COMPLETIONS
from api.platforms.client import CallDetails, EventKind
from api.platforms.completions.tools import TOOLS
from api.platforms.http_client import HttpClient
from api.platforms.network import Network

PATH = "/v1/chat/completions"
OWN_TOOLS = ("end_call", "transferCall", "dtmf")


class CompletionsClient(HttpClient):
    """key: the bearer key. messages: the conversation as the client has it."""

    abilities = COMPLETIONS

    def __init__(self, network: Network, call: CallDetails, key: str) -> None:
        super().__init__(network, call, PATH)
        self.messages: list[dict[str, str]] = []
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
        self._ask(completion_body(self.call, self.messages))

    def _headers(self, body: bytes) -> dict[str, str]:
        return completion_headers(self._key)

    def _read_event(self, data: str) -> tuple[Any, list[tuple[EventKind, Any]]]:
        return read_chunk(data)


def completion_body(
    call: CallDetails, messages: Sequence[Mapping[str, str]], tools: Iterable[str] = OWN_TOOLS
) -> bytes:
    """A request. tools: the names of the client's own."""
    body = {
        "model": "voice-agent",
        "stream": True,
        "conversation_id": call.conversation_id,
        "messages": list(messages),
        "tools": [{"type": "function", "function": {"name": name}} for name in tools],
        **({"metadata": dict(call.metadata)} if call.metadata else {}),
        **({"customer": {"number": call.number}} if call.number else {}),
    }
    return json.dumps(body, ensure_ascii=False).encode()


def completion_headers(key: str) -> dict[str, str]:
    return {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}


def read_chunk(data: str) -> tuple[Any, list[tuple[EventKind, Any]]]:
    """A server-sent event, and what it means."""
    if data == "[DONE]":
        return data, [("end", "complete")]
    chunk = json.loads(data)
    delta = chunk["choices"][0]["delta"]
    events: list[tuple[EventKind, Any]] = []
    if delta.get("content"):
        events.append(("say", delta["content"]))
    events += [("control", _control(called["function"])) for called in delta.get("tool_calls", ())]
    return chunk, events


def _control(function: dict[str, Any]) -> dict[str, Any]:
    """What a call of the client's tool does to the call."""
    action, argument = TOOLS[function["name"]]
    arguments = json.loads(function["arguments"])
    value = arguments.get(argument, "") if argument else ""
    return {"action": action, "value": value, "reason": arguments.get("reason", "")}
