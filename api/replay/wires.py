"""A recorded conversation's requests in the words of the platform over which it was held.

async with open_wire(run, app) as wire:
    heard = await wire.talk(turn)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

from fastapi import FastAPI

from agent.replay import run_file as runs
from api.platforms import CallDetails, in_process
from api.platforms.completions import (
    OWN_TOOLS,
    TOOLS,
    completion_body,
    completion_headers,
    place_of,
    read_chunk,
    turn_id_of,
)
from api.replay.line import SECRET, FakePlatform, Heard, HttpRequest, metadata_of
from api.replay.socket_wires import EngineWire, RelayWire

# By the names of the platforms: that of the client that stands in for them.
CLIENT_OF: Mapping[str, str] = {
    "": "layercode",
    "Twilio": "relay",
    "Telnyx": "relay",
    "ElevenLabs Speech Engine": "speech-engine",
    "chat completions": "completions",
}


# By client: ms from a hang-up to the next words, where a replay hangs up. Only these interrupt on Speech Engine.
PAUSES: Mapping[str, int] = {"layercode": 2_000, "relay": 2_000, "speech-engine": 0, "completions": 2_000}


class Wire(Protocol):
    async def talk(self, turn: runs.RecordedTurn) -> Heard:
        """Ask for one turn as it was asked, and what comes of it until its end, or until it is interrupted as it was.
        Turns may overlap; they begin in the order of the calls."""
        ...

    async def settle(self, *, call_ends: bool) -> None:
        """After the last turn: wait until the server has left the call, if it is going to."""
        ...


def client_of(run: runs.RunFile) -> str:
    """RunFileError when this version does not know the platform."""
    try:
        return CLIENT_OF[run.platform]
    except KeyError:
        raise runs.RunFileError(f"The run file is of a platform that is not known here: {run.platform}.") from None


def follow(run: runs.RunFile, webhook: runs.Webhook, text: str) -> Mapping[str, Any]:
    """What names the request after another one, for the next words."""
    turn_id = webhook["turn_id"]
    match client_of(run):
        case "relay":
            session, _, number = turn_id.rpartition(".")
            return {"turn_id": f"{session}.{int(number) + 1}"}
        case "speech-engine":
            return {"turn_id": str(int(turn_id) + 1)}
        case "completions":
            place = place_of(_users(webhook) + 1)
            return {"turn_id": turn_id_of(place, text), "place": place, "abilities": webhook.get("abilities", [])}
        case _:
            return {"turn_id": "after-the-hang-up"}


@asynccontextmanager
async def open_wire(run: runs.RunFile, app: FastAPI) -> AsyncIterator[Wire]:
    """To an application on which the platform is on, with SECRET."""
    first: Mapping[str, Any] = run.turns[0].webhook if run.turns else {}
    call = CallDetails(first.get("conversation_id", ""), first.get("caller"), metadata_of(first))
    async with in_process(app) as network:
        match client_of(run):
            case "relay":
                async with RelayWire(network, call) as relay:
                    yield relay
            case "speech-engine":
                async with EngineWire(network, call) as engine:
                    yield engine
            case "completions":
                yield _CompletionsWire(app)
            case _:
                yield _LayercodeWire(app)


class _LayercodeWire:
    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def talk(self, turn: runs.RecordedTurn) -> Heard:
        return await FakePlatform(self._app, turn).talk()

    async def settle(self, *, call_ends: bool) -> None:
        """Each request is a call of its own."""


class _CompletionsWire:
    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._messages: list[dict[str, str]] = []

    async def talk(self, turn: runs.RecordedTurn) -> Heard:
        body = self._body(turn.webhook)
        carried = frozenset({"say", "control"})
        request = HttpRequest("/v1/chat/completions", completion_headers(SECRET), body, read_chunk, carried)
        heard = await FakePlatform(self._app, turn, request).talk()
        heard.frames = [(0, "in", body.decode()), *((ms, way, _without_ids(frame)) for ms, way, frame in heard.frames)]
        return heard

    async def settle(self, *, call_ends: bool) -> None:
        """Each request is a call of its own."""

    def _body(self, webhook: runs.Webhook) -> bytes:
        """The conversation so far: what the user said, and what the client thinks was heard."""
        users = _users(webhook)
        if users:
            before = self._until(users - 1)
            heard = webhook.get("heard")
            said = [{"role": "assistant", "content": heard["text"]}] if heard else []
            self._messages = [*before, *said, {"role": "user", "content": webhook.get("text", "")}]
        call = CallDetails(webhook["conversation_id"], webhook.get("caller"), metadata_of(webhook))
        abilities = webhook.get("abilities", ())
        return completion_body(call, self._messages, [name for name in OWN_TOOLS if TOOLS[name][0] in abilities])

    def _until(self, users: int) -> list[dict[str, str]]:
        """The messages up to so many of the user's. What was said before the recording began is not known."""
        kept: list[dict[str, str]] = []
        for message in self._messages:
            if sum(one["role"] == "user" for one in kept) == users:
                break
            kept.append(message)
        missing = users - sum(one["role"] == "user" for one in kept)
        return [*({"role": "user", "content": "..."} for _ in range(missing)), *kept]


def _users(webhook: runs.Webhook) -> int:
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
