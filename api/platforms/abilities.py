"""What a platform can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Heard = Literal["exact", "fragment", "derived"]


@dataclass(frozen=True)
class Abilities:
    """heard: how it tells what the caller heard of an interrupted answer. `exact`: all the words from the beginning;
        `fragment`: the last words; `derived`: the answer as it stands in the next request.
    hang_up, transfer, send_dtmf: it carries these out for a tool.
    dtmf_in: it tells which keys the caller pressed.
    may_speak_first: the agent can greet.
    """

    heard: Heard
    hang_up: bool = False
    transfer: bool = False
    send_dtmf: bool = False
    dtmf_in: bool = False
    may_speak_first: bool = False

    @property
    def controls(self) -> frozenset[str]:
        """The actions that a turn on it may ask for: `TurnRequest.abilities`."""
        return frozenset(name for name in ("hang_up", "transfer", "send_dtmf") if getattr(self, name))


LAYERCODE = Abilities(heard="exact", may_speak_first=True)
RELAY = Abilities(heard="fragment", hang_up=True, transfer=True, send_dtmf=True, dtmf_in=True, may_speak_first=True)
SPEECH_ENGINE = Abilities(heard="derived")
COMPLETIONS = Abilities(heard="derived", hang_up=True, transfer=True, send_dtmf=True, may_speak_first=True)
