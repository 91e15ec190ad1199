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


class ToolExit(Exception):
    """A tool called `sys.exit()` or the like. In a task that would end the event loop, and every call in it."""


def contained(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """The function as a coroutine function. A sync one gets a thread of its own: a shared pool fills up with slow
    tools, and a thread that is no daemon keeps the process from ending."""
    run = function if inspect.iscoroutinefunction(function) else _in_thread(function)

    @wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return await run(*args, **kwargs)
        except (SystemExit, KeyboardInterrupt, StopIteration) as error:
            raise ToolExit(type(error).__name__) from error

    return call


def _in_thread(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()
        future: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()

        def settle(result: Any, error: BaseException | None) -> None:
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
