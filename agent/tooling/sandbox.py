"""A tool's function, contained: async whatever it was, and unable to end the process or to hold it up."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary


class ToolExited(Exception):
    """A tool called `sys.exit()` or the like. In a task that would end the event loop, and every call in it."""


class ToolNotStarted(Exception):
    """The call was given up while others had all the places."""


_MOST_THREADS = 40  # of one tool

Call = Callable[..., Awaitable[Any]]
Leave = Callable[[], None]


def isolated(function: Callable[..., Any], at_once: int | None = None) -> Call:
    """The function as a coroutine function. A sync one gets a thread of its own: a shared pool fills up with slow
    tools, and a thread that is no daemon keeps the process from ending.

    at_once: how many calls may run, of a sync function 40 if it is not given; others wait, and raise ToolNotStarted
    when they are cancelled meanwhile. A thread that nobody waits for any more keeps its place until it is through.
    """
    in_loop = inspect.iscoroutinefunction(function)
    run = _in_loop(function) if in_loop else _in_thread(function)
    most = at_once if in_loop else at_once or _MOST_THREADS
    places: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    async def enter() -> Leave:
        if most is None:
            return _nothing
        place = places.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(most))
        try:
            await place.acquire()
        except asyncio.CancelledError as error:
            raise ToolNotStarted from error
        return place.release

    @wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        leave = await enter()
        try:
            return await run(leave, *args, **kwargs)
        except (SystemExit, KeyboardInterrupt, StopIteration) as error:
            raise ToolExited(type(error).__name__) from error

    return call


def _nothing() -> None:
    pass


def _in_loop(function: Callable[..., Any]) -> Call:
    async def call(leave: Leave, *args: Any, **kwargs: Any) -> Any:
        try:
            return await function(*args, **kwargs)
        finally:
            leave()

    return call


def _in_thread(function: Callable[..., Any]) -> Call:
    async def call(leave: Leave, *args: Any, **kwargs: Any) -> Any:
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()
        future: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()

        def settle(result: Any, error: BaseException | None) -> None:
            leave()
            if not future.done():
                future.set_result((result, error))

        def work() -> None:
            result, error = None, None
            try:
                result = context.run(function, *args, **kwargs)
            except BaseException as raised:  # noqa: BLE001 - handed over, whatever it is
                error = raised
            with suppress(RuntimeError):  # the loop is gone: nobody waits any more
                loop.call_soon_threadsafe(settle, result, error)

        threading.Thread(target=work, daemon=True, name=f"tool {function.__name__}").start()
        result, error = await future
        if error:
            raise error
        return result

    return call
