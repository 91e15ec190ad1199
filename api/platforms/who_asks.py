"""AUTHORIZE_HOOK: the owner's own check of who may begin a session, or go on in a conversation, from a page."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request
from pydantic import ImportString, TypeAdapter

from agent.failures import logged
from api.platforms.body import Refused
from api.settings import NotConfigured

log = logging.getLogger(__name__)

Hook = Callable[[Request, dict[str, Any]], Awaitable[bool]]

_SECONDS = 5.0
_FORM = "It must name a function `async def hook(request, fields) -> bool` as `package.module:function`"


def load_hook(name: str | None) -> Hook | None:
    """The function of that name. NotConfigured when there is none."""
    if not name:
        return None
    hook: Any = None
    with logged(log, "AUTHORIZE_HOOK could not be imported") as attempt:
        hook = TypeAdapter(ImportString).validate_python(name)
    if attempt.failed or not inspect.iscoroutinefunction(hook):
        raise NotConfigured(f"AUTHORIZE_HOOK={name}: {_FORM}.")
    checked: Hook = hook
    return checked


async def check_who_asks(hook: Hook | None, request: Request, fields: dict[str, Any]) -> None:
    """Refused when the hook says anything but True, fails, or takes more than 5 s. fields: of the request's body."""
    if hook is None:
        return
    answer: object = None
    with logged(log, "AUTHORIZE_HOOK failed") as attempt:
        async with asyncio.timeout(_SECONDS):
            answer = await hook(request, fields)
    if attempt.failed:
        raise Refused(503, "It cannot be checked at the moment who asks.")
    if answer is not True:
        raise Refused(403, "You may not open this conversation.")
