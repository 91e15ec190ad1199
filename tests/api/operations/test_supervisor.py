"""The parent of several workers, and one that does not end when it is told to."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api.operations import workers
from api.operations.workers import METRICS_FOLDER, Supervisor, Worker
from api.settings import Settings


def stubborn(_: Settings, __: socket.socket, ready: threading.Event) -> None:
    """In place of a worker's life."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ready.set()
    time.sleep(60)


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Supervisor]:
    monkeypatch.setenv(METRICS_FOLDER, str(tmp_path))
    monkeypatch.setattr(workers, "_GRACE", 0.5)
    monkeypatch.setattr(workers, "_work", stubborn)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Supervisor(Settings(_env_file=None, drain_seconds=0), listener, 1)


def test_a_worker_that_was_replaced_and_does_not_end_is_killed_and_counts_no_more(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    old = Worker(supervisor._settings, supervisor._listener)
    gauge = tmp_path / f"gauge_livesum_{old.process.pid}.db"
    gauge.touch()
    until(lambda: old.ready)
    old.end(supervisor._patience)
    supervisor._draining.append(old)
    until(lambda: ended(supervisor))
    assert old.process.exitcode == -signal.SIGKILL
    assert not gauge.exists()


def ended(supervisor: Supervisor) -> bool:
    supervisor._wait()
    return not supervisor._draining


def until(true: Callable[[], object]) -> None:
    ends = time.monotonic() + 30
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.02)
