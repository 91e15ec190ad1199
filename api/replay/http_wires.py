"""A recorded conversation on a platform whose every request is answered by a stream of its own."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

from agent.replay import run_file as runs
from api.platforms import HttpClient, Network
from api.platforms.completions import OWN_TOOLS, TOOLS, CompletionsClient
from api.platforms.layercode import LayercodeClient
from api.replay.heard import SECRET, Heard, call_of, carried

Client = TypeVar("Client", bound=HttpClient)


class _HttpWire(ABC, Generic[Client]):
    """Each request has a client of its own, as they may overlap. carries: the kinds of events that reach the
    platform."""

    carries: ClassVar[frozenset[str]]

    def __init__(self, network: Network) -> None:
        self._network = network

    @abstractmethod
    def _client(self, webhook: runs.Webhook) -> Client: ...

    @abstractmethod
    async def _ask(self, client: Client, webhook: runs.Webhook) -> None:
        """Send the request."""

    async def talk(self, turn: runs.RecordedTurn, heard: Heard | None = None) -> Heard:
        """heard: is filled as it comes."""
        heard, loop = heard or Heard(), asyncio.get_running_loop()
        zero = loop.time()
        async with self._client(turn.webhook) as client:
            hung_up = turn.hung_up
            least = client.reads = carried(turn, hung_up.events, self.carries) if hung_up else None
            await self._ask(client, turn.webhook)
            while client.answers and heard.over is None:
                if hung_up and least is not None and len(heard.sent) >= least:
                    await asyncio.sleep(max(0.0, zero + hung_up.ms / 1000 - loop.time()))
                    await client.interrupt()
                heard.take(await client.newest(), zero)
            for event in await client.rest():
                heard.take(event, zero)
        heard.raw = client.came
        heard.frames = [(round((at - zero) * 1000), way, frame) for at, way, frame in client.wire]
        return heard

    async def settle(self, *, call_ends: bool) -> None:
        """Each request is a call of its own."""


class LayercodeWire(_HttpWire[LayercodeClient]):
    carries = frozenset({"say", "show"})

    def _client(self, webhook: runs.Webhook) -> LayercodeClient:
        return LayercodeClient(self._network, call_of(webhook), SECRET)

    async def _ask(self, client: LayercodeClient, webhook: runs.Webhook) -> None:
        turn_id, heard = webhook["turn_id"], webhook.get("heard")
        match webhook["kind"]:
            case "data":
                await client.post("data", turn_id=turn_id, data=webhook.get("data"))
            case "welcome":
                client.ask("session.start", turn_id)
            case _:
                interrupted = (heard.get("turn_id"), heard["text"]) if heard else None
                client.ask("message", turn_id, text=webhook.get("text", ""), heard=interrupted)


class CompletionsWire(_HttpWire[CompletionsClient]):
    """messages: the conversation so far, as its client has it."""

    carries = frozenset({"say", "control"})

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self._messages: list[dict[str, str]] = []

    async def talk(self, turn: runs.RecordedTurn, heard: Heard | None = None) -> Heard:
        heard = await super().talk(turn, heard)
        heard.frames = [(ms, way, _without_ids(frame)) for ms, way, frame in heard.frames]
        return heard

    def _client(self, webhook: runs.Webhook) -> CompletionsClient:
        client = CompletionsClient(self._network, call_of(webhook), SECRET)
        abilities = webhook.get("abilities", ())
        client.tools = [name for name in OWN_TOOLS if TOOLS[name][0] in abilities]
        return client

    async def _ask(self, client: CompletionsClient, webhook: runs.Webhook) -> None:
        if users := users_in(webhook):
            heard = webhook.get("heard")
            said = [{"role": "assistant", "content": heard["text"]}] if heard else []
            words = {"role": "user", "content": webhook.get("text", "")}
            self._messages = [*self._until(users - 1), *said, words]
        client.messages = self._messages
        await client.begin()

    def _until(self, users: int) -> list[dict[str, str]]:
        """The messages up to so many of the user's. What was said before the recording began is not known."""
        kept: list[dict[str, str]] = []
        for message in self._messages:
            if sum(one["role"] == "user" for one in kept) == users:
                break
            kept.append(message)
        missing = users - sum(one["role"] == "user" for one in kept)
        return [*({"role": "user", "content": "..."} for _ in range(missing)), *kept]


def users_in(webhook: runs.Webhook) -> int:
    """How many messages of the user's a request has."""
    return int(webhook.get("place", "p0.").strip("p."))


def _without_ids(frame: Any) -> Any:
    """Without what is another one in each answer."""
    if not isinstance(frame, dict):
        return frame
    kept = {name: value for name, value in frame.items() if name not in ("id", "created")}
    for called in kept["choices"][0]["delta"].get("tool_calls", ()):
        called.pop("id", None)
    return kept
