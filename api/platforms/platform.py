"""What a platform must give, so that its callers reach the agent.

Each platform is a folder beside this module, with its wire format, its authentication and its routes. registry.py lists
them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import httpx
from fastapi import APIRouter

from agent.agent import Agent
from api.settings import Settings

Heard = Literal["exact", "fragment", "derived", "none"]


@dataclass(frozen=True)
class Abilities:
    """What a platform can do.

    heard: how it tells what the caller heard of an interrupted answer. `exact`: all the words from the beginning;
        `fragment`: the last words; `derived`: the answer as it stands in the next request; `none`: nothing.
    hang_up, transfer, send_dtmf: it carries these out for a tool.
    dtmf_in: it tells which keys the caller pressed.
    page_data: it carries a tool's data to the caller's page, and the page's data to the agent.
    may_speak_first: the agent can greet.
    """

    heard: Heard
    hang_up: bool = False
    transfer: bool = False
    send_dtmf: bool = False
    dtmf_in: bool = False
    page_data: bool = False
    may_speak_first: bool = False

    @property
    def controls(self) -> frozenset[str]:
        """The actions that a turn on it may ask for: `TurnRequest.abilities`."""
        return frozenset(name for name in ("hang_up", "transfer", "send_dtmf") if getattr(self, name))


@dataclass(frozen=True)
class Services:
    """What routes use. agent: gives the running agent. http: gives a shared client. refused: counts a request that was
    not taken, by its reason in a word or two."""

    settings: Settings
    agent: Callable[[], Agent]
    http: Callable[[], httpx.AsyncClient]
    refused: Callable[[str], None]


@dataclass(frozen=True)
class Platform:
    """name: as in logs and docs. secret: the setting that switches it on. routers: makes its routes; ImportError when a
    package is missing. extra: the extra that has it."""

    name: str
    secret: str
    abilities: Abilities
    routers: Callable[[Services], list[APIRouter]]
    extra: str | None = None
    has_sockets: bool = False

    def is_configured(self, settings: Settings) -> bool:
        return bool(getattr(settings, self.secret))
