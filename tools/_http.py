"""Asking a public web service for JSON, and what to say when it does not answer well."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from agent import tool_context

log = logging.getLogger(__name__)

# Wikimedia turns away requests that do not say who they are.
USER_AGENT = "voice-agent-backend/0.1 (voice assistant; python-httpx)"

# Seconds for one request, from connecting to the last byte. Two in a row fit into a tool's 8 s.
TIME_LIMIT = 3.5

Params = Mapping[str, str | int | float]
Shape = TypeVar("Shape", bound=BaseModel)


class ServiceError(Exception):
    """No usable answer. The text is a sentence for the model: no address, no error text."""


class NotFoundError(ServiceError):
    """The service works, and has nothing by that name (404)."""


def base_url(variable: str, default: str) -> str:
    """A service's address, which the environment may change at any time (a mirror, a test's server)."""
    return os.environ.get(variable, default).rstrip("/")


async def get(shape: type[Shape], service: str, url: str, params: Params) -> Shape:
    """GET `url` and read it as `shape`. ServiceError, which names `service` ("The weather service")."""
    try:
        return shape.model_validate_json(await _fetch(url, params))
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValidationError) as error:
        problem = _problem(service, error)
        # The kind only: the error's text may hold the address, and with it what the caller asked for.
        log.warning("%s (%s)", problem, type(error).__name__)
        raise problem from error


async def _fetch(url: str, params: Params) -> bytes:
    # httpx limits each wait for bytes; a server that drips them needs a limit on the whole as well.
    async with asyncio.timeout(TIME_LIMIT):
        response = await tool_context().http.get(
            url,
            params=params,
            headers={"User-Agent": USER_AGENT, "Accept": "application/json"},
            timeout=TIME_LIMIT,
            follow_redirects=True,
        )
    return response.raise_for_status().content


def _problem(service: str, error: Exception) -> ServiceError:
    match error:
        case httpx.HTTPStatusError(response=httpx.Response(status_code=404)):
            return NotFoundError(f"{service} has nothing by that name.")
        case httpx.HTTPStatusError(response=httpx.Response(status_code=429)):
            problem = "is asked too often at the moment"
        case httpx.HTTPStatusError():
            problem = "is out of order at the moment"
        case httpx.TimeoutException() | TimeoutError():
            problem = "did not answer in time"
        case ValidationError():
            problem = "gave an answer that makes no sense"
        case _:
            problem = "cannot be reached at the moment"
    return ServiceError(f"{service} {problem}. Tell the caller, and offer to try again later.")
