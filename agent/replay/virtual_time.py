"""An event loop whose clock jumps: it never waits, and the same program runs the same way every time.

When nothing is ready the clock goes on to the next timer. So a recorded call of forty seconds takes milliseconds,
and everything happens at the very time it happened. What would take real time is kept away: work for an executor is
done in the loop's own thread, and there is no network, but where something waits for an answer in real time.
"""

from __future__ import annotations

import asyncio
import selectors
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

T = TypeVar("T")


class Stalled(Exception):
    """Everything waits, and nothing is going to happen: a deadlock, or something that takes real time."""


class TookTooLong(Exception):
    """It was still at work after the real seconds that it may take."""


class NoNetwork(ConnectionError):
    """Something wanted to connect to another machine."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """longest: real seconds until it is ended. online: whether there is a network.

    offline: when something wanted to use the network all the same.
    """

    def __init__(self, longest: float | None = None, *, online: bool = False) -> None:
        self._selector_of_time = _Jump(self, longest)
        super().__init__(self._selector_of_time)
        self._clock = 0.0
        self._online = online
        self.waiting = 0
        self.offline: list[float] = []

    def time(self) -> float:
        return self._clock

    def jump(self, seconds: float) -> None:
        self._clock += seconds

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is for who awaits the future
            future.set_exception(error)
        return future

    async def getaddrinfo(self, *args: Any, **kwargs: Any) -> Any:
        self._refuse()
        return await super().getaddrinfo(*args, **kwargs)

    async def sock_connect(self, *args: Any, **kwargs: Any) -> None:
        self._refuse()
        await super().sock_connect(*args, **kwargs)

    def _refuse(self) -> None:
        if not (self._online and self.waiting):
            self.offline.append(self._clock)
            raise NoNetwork("there is no network in virtual time")


@contextmanager
def real_time() -> Iterator[None]:
    """Within it the clock goes as clocks do: for an answer from elsewhere. Only in a loop that is online."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualTimeLoop):
        yield
        return
    loop.waiting += 1
    try:
        yield
    finally:
        loop.waiting -= 1


class _Jump(selectors.DefaultSelector):
    """longest: real seconds until the loop is ended."""

    def __init__(self, loop: VirtualTimeLoop, longest: float | None) -> None:
        super().__init__()
        self._loop = loop
        self._until = None if longest is None else time.monotonic() + longest

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._until is not None and time.monotonic() > self._until:
            self._until = None  # what is ended is given the time to end
            raise TookTooLong
        if self._loop.waiting:
            began = time.monotonic()
            ready = super().select(timeout)
            self._loop.jump(time.monotonic() - began)
            return ready
        if timeout is None:
            raise Stalled("nothing is going to happen any more")
        if timeout > 0:
            self._loop.jump(timeout)
        return super().select(0)


def run_in_virtual_time(main: Coroutine[Any, Any, T], *, longest: float | None = None, online: bool = False) -> T:
    """longest: real seconds that it may take. TookTooLong when it takes more. online: see `real_time`."""
    with (
        _alarm(longest),
        _at_once(),
        asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(longest, online=online)) as runner,
    ):
        return runner.run(main)


@contextmanager
def _at_once() -> Iterator[None]:
    """Ctrl-C ends everything in the loop. A `Runner` would only cancel its task, which may wait for others."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or not _in_main_thread():
        yield
        return

    def interrupt(*_: Any) -> None:
        with suppress(RuntimeError):  # the loop may not run yet
            asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # what ends now is nobody's fault
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def _alarm(seconds: float | None) -> Iterator[None]:
    """Ends what holds up the loop itself: once so many seconds are over TookTooLong is raised in it. Where there are
    no signals, only the loop looks at its time."""
    if seconds is None or not _in_main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def ring(*_: Any) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
