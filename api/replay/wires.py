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
from api.platforms import in_process
from api.platforms.completions import place_of, turn_id_of
from api.replay.heard import Heard, call_of
from api.replay.http_wires import CompletionsWire, LayercodeWire, users_in
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
            place = place_of(users_in(webhook) + 1)
            return {"turn_id": turn_id_of(place, text), "place": place, "abilities": webhook.get("abilities", [])}
        case _:
            return {"turn_id": "after-the-hang-up"}


@asynccontextmanager
async def open_wire(run: runs.RunFile, app: FastAPI) -> AsyncIterator[Wire]:
    """To an application on which the platform is on, with SECRET."""
    call = call_of(run.turns[0].webhook if run.turns else {})
    async with in_process(app) as network:
        match client_of(run):
            case "relay":
                async with RelayWire(network, call) as relay:
                    yield relay
            case "speech-engine":
                async with EngineWire(network, call) as engine:
                    yield engine
            case "completions":
                yield CompletionsWire(network)
            case _:
                yield LayercodeWire(network)
