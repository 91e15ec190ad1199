"""`voice serve --workers N`: a parent that holds the socket, and N workers that accept on it.

SIGTERM or Ctrl-C: the workers drain, as one alone does (server.py), and the parent exits with 0. SIGHUP: each
worker is replaced, one after the other: the new one serves before the old one drains. A worker that dies is replaced,
after a pause if it never served. When the parent is gone the workers drain.

Not uvicorn's Multiprocess: while it restarts or stops, it waits in join() and obeys no signal, and has no time-out for
it; each of its methods that start, replace or end a worker would be overridden.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import signal
import socket
import threading
import time
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from tempfile import TemporaryDirectory
from types import FrameType

from prometheus_client.multiprocess import mark_process_dead

from api.operations.logs import configure_logging
from api.operations.server import run
from api.settings import Settings

log = logging.getLogger(__name__)

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # the library's name for it

_spawn = multiprocessing.get_context("spawn")
_LOOK = 0.2  # seconds
_LONGEST_PAUSE = 30.0  # seconds
_GRACE = 15.0  # seconds a worker has to end, beyond its draining


class Worker:
    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._ready = _spawn.Event()
        self.process: SpawnProcess = _spawn.Process(target=_work, args=(settings, listener, self._ready))
        self.process.start()
        self.ends_by = math.inf

    def end(self, seconds: float) -> None:
        """Ask it to end. `ends_by`: when it must have, by `time.monotonic()`."""
        self.process.terminate()
        self.ends_by = time.monotonic() + seconds

    @property
    def ready(self) -> bool:
        return self._ready.is_set()

    @property
    def alive(self) -> bool:
        return self.process.is_alive()


class Supervisor:
    def __init__(self, settings: Settings, listener: socket.socket, count: int) -> None:
        self._settings = settings
        self._patience = 2 * settings.drain_seconds + _GRACE
        self._listener = listener
        self._workers: list[Worker | None] = [None] * count
        self._draining: list[Worker] = []
        self._to_renew: list[int] = []
        self._fresh: Worker | None = None
        self._stops = 0
        self._failures = 0
        self._not_before = 0.0

    def run(self) -> None:
        """Until a signal, and until all workers have ended."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        while not self._stops:
            self._revive()
            self._renew()
            self._wait()
        self._stop()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._to_renew = list(range(len(self._workers)))
        else:
            self._stops += 1

    def _wait(self) -> None:
        wait([worker.process.sentinel for worker in self._all()], timeout=_LOOK)
        for worker in self._draining:
            if not worker.alive:
                mark_process_dead(worker.process.pid)  # type: ignore[no-untyped-call]
            elif time.monotonic() > worker.ends_by:
                _kill(worker)
        self._draining = [worker for worker in self._draining if worker.alive]

    def _all(self) -> list[Worker]:
        return [worker for worker in (*self._workers, self._fresh, *self._draining) if worker and worker.alive]

    def _start(self) -> Worker:
        return Worker(self._settings, self._listener)

    def _revive(self) -> None:
        for place, worker in enumerate(self._workers):
            if worker and not worker.alive:
                self._failures = 0 if worker.ready else self._failures + 1
                pause = min(2.0 ** (self._failures - 1), _LONGEST_PAUSE) if self._failures else 0.0
                self._not_before = time.monotonic() + pause
                log.error(
                    "worker %s ended with %s, another begins in %g s",
                    worker.process.pid,
                    worker.process.exitcode,
                    pause,
                )
                mark_process_dead(worker.process.pid)  # type: ignore[no-untyped-call]
                self._workers[place] = None
            if self._workers[place] is None and time.monotonic() >= self._not_before:
                self._workers[place] = self._start()

    def _renew(self) -> None:
        """The next step of replacing the workers."""
        if not self._to_renew:
            return
        if self._fresh is None:
            self._fresh = self._start()
        elif not self._fresh.alive:
            log.error("the new worker did not start: the old ones stay")
            self._fresh = None
            self._to_renew.clear()
        elif self._fresh.ready:
            place = self._to_renew.pop(0)
            old, self._workers[place], self._fresh = self._workers[place], self._fresh, None
            if old and old.alive:
                old.end(self._patience)
                self._draining.append(old)

    def _stop(self) -> None:
        """A second signal is passed on too: then they do not wait. While one copy of the socket is open, callers
        connect to it, and wait for nobody."""
        self._listener.close()
        passed_on = 0
        until = time.monotonic() + self._patience
        while self._all() and time.monotonic() < until:
            if passed_on < self._stops:
                for worker in self._all():
                    worker.process.terminate()
                passed_on = self._stops
            self._wait()
        for worker in self._all():
            _kill(worker)


def _kill(worker: Worker) -> None:
    log.error("worker %s does not end and is killed", worker.process.pid)
    worker.process.kill()


def serve(settings: Settings, listener: socket.socket, count: int) -> None:
    """Serve with so many workers until a signal."""
    configure_logging(settings.log_level, settings.log_format)
    log.info("listening on %s, port %d, with %d workers", *listener.getsockname()[:2], count)
    with TemporaryDirectory(prefix="voice-metrics-") as folder:
        os.environ.setdefault(METRICS_FOLDER, folder)  # in which each counts, so that any can answer for all
        Supervisor(settings, listener, count).run()


def _work(settings: Settings, listener: socket.socket, ready: threading.Event) -> None:
    """A worker's process."""
    from api.app import create_app

    os.setsid()  # Ctrl-C is for the parent, which passes it on
    threading.Thread(target=_end_with_parent, daemon=True).start()
    run(create_app(settings), listener, settings, ready.set)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
