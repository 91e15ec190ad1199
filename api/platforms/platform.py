"""What a platform must give, so that its callers reach the agent.

Each platform is a folder beside this module, with its wire format, its authentication and its routes. registry.py lists
them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import httpx
from fastapi import APIRouter

from agent.agent import Agent
from api.platforms.abilities import Abilities
from api.settings import Settings


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
    package is missing. extra: the extra that has it. abilities: docs/platforms.md is held against them."""

    name: str
    secret: str
    abilities: Abilities
    routers: Callable[[Services], list[APIRouter]]
    extra: str | None = None
    has_sockets: bool = False

    def is_configured(self, settings: Settings) -> bool:
        return bool(getattr(settings, self.secret))
