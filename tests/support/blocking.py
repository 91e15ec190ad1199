"""Catches blocking calls in an event loop, by Python's own audit events."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_BLOCKING = {"open", "os.listdir", "os.scandir", "sqlite3.connect", "subprocess.Popen", "socket.connect"}
_state: dict[str, Any] = {"hooked": False, "watching": False}


class BlockingCallError(Exception):
    """Raised in the place that would have blocked the loop."""


@contextmanager
def no_blocking_calls() -> Iterator[None]:
    """Within, opening a file, sleeping, starting a process and the like raise in a thread that runs a loop."""
    if not _state["hooked"]:  # an audit hook cannot be taken away again
        sys.addaudithook(_audit)
        time.sleep = _sleep  # type: ignore[assignment]
        _state["hooked"] = True
    _state["watching"] = True
    try:
        yield
    finally:
        _state["watching"] = False


def _sleep(seconds: float, sleep: Callable[[float], None] = time.sleep) -> None:
    """Only newer Pythons have an audit event for it."""
    if _state["watching"] and asyncio._get_running_loop() is not None:
        raise BlockingCallError("time.sleep in the event loop")
    sleep(seconds)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _state["watching"] or event not in _BLOCKING or asyncio._get_running_loop() is None:
        return
    if event == "socket.connect" and arguments[0].gettimeout() == 0:
        return
    if _importing():
        return
    raise BlockingCallError(f"{event}{arguments[:1] if event == 'open' else ''} in the event loop")


def _importing() -> bool:
    """A library's late import reads files too, once; what that costs is measured elsewhere."""
    frame = sys._getframe(2)
    while frame.f_back:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
