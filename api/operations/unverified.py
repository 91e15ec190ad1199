"""The connections of those who have not shown yet who they are, and what they send meanwhile, within limits for all of
them together.

The application says of a request that its sender is known by `mark_verified`. Where there are too many connections, or
too many bytes, the oldest of the others is closed: whoever has a right to be served sends a request in one piece, and
is not among them for long.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, MutableMapping
from typing import Any, Protocol

MAX_CONNECTIONS = 4096
MAX_BYTES = 16 * 1024 * 1024  # of bodies
_EXTENSION = "voice.verified"  # in the ASGI scope's extensions


class Closable(Protocol):
    def close_at_once(self) -> None: ...


class Unverified:
    """Of one server."""

    def __init__(self) -> None:
        self._strangers: dict[Closable, None] = {}  # the oldest first
        self._known: dict[Closable, None] = {}  # idle, after a request of somebody known
        self._bodies: dict[Closable, int] = {}  # bytes, the oldest first
        self._bytes = 0

    def enter(self, one: Closable, *, known: bool = False) -> None:
        """known: its last request was verified, so that it is closed last."""
        (self._known if known else self._strangers)[one] = None

    def leave(self, one: Closable) -> None:
        """It is verified, or closed."""
        self._strangers.pop(one, None)
        self._known.pop(one, None)
        self.drop_body(one)

    def drop_body(self, one: Closable) -> None:
        """What it has sent is not kept any more."""
        self._bytes -= self._bodies.pop(one, 0)

    def add_to_body(self, one: Closable, count: int) -> None:
        if one not in self._strangers and one not in self._known:
            return
        self._bodies[one] = self._bodies.get(one, 0) + count
        self._bytes += count
        while self._bytes > MAX_BYTES:
            self._close(next(iter(self._bodies)))

    def make_room(self, connections: int) -> None:
        """There is one connection more."""
        if connections > most_connections():
            oldest = next(iter(self._strangers or self._known), None)
            if oldest:
                self._close(oldest)

    def _close(self, one: Closable) -> None:
        self.leave(one)
        one.close_at_once()


def most_connections() -> int:
    """A quarter of the files that the process may open is for the database, the models and tools."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAX_CONNECTIONS if files == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, files * 3 // 4)


def extension(verified: Callable[[], None]) -> dict[str, Any]:
    """For a scope: `mark_verified` calls it."""
    return {_EXTENSION: verified}


def mark_verified(scope: MutableMapping[str, Any]) -> None:
    """The sender of this request is known."""
    told = scope.get("extensions", {}).get(_EXTENSION)
    if told:
        told()
