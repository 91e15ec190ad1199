"""Whether the configured models answer, in the time that a caller would wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from agent.llm import status_of
from api.settings import NotConfigured, Settings
from api.wiring import load_models

_REASONS = {
    400: "it refuses the request: is its key right?",
    401: "it does not accept its key",
    403: "its key may not use it",
    404: "there is no such model: look at MODEL",
    429: "its quota is used up: wait, or raise it with the provider",
}


@dataclass(frozen=True)
class Finding:
    """text: what is, or what is wrong and what to do."""

    subject: str
    ok: bool
    text: str


def ask_models(settings: Settings) -> Iterator[Finding]:
    """One tiny request to the model, and one to its fallback."""
    if settings.model == "demo":
        text = "MODEL=demo is no language model: name one, and set its key."
        yield Finding("model", ok=False, text=text)
        return
    try:
        models = load_models(settings)
    except NotConfigured as error:
        yield from (Finding("model", ok=False, text=problem) for problem in error.problems)
        return

    async def ask() -> list[Finding]:
        await models.rehearse([])
        found = [await _asked(settings.model, models.primary, models.first_token)]
        if models.fallback and settings.model_fallback:
            found.append(await _asked(settings.model_fallback, models.fallback, models.first_token))
        await models.close()
        return found

    yield from asyncio.run(ask())


async def _asked(name: str, model: Any, patience: float) -> Finding:
    began = time.monotonic()
    try:
        async with asyncio.timeout(patience), aclosing(model.astream("Say yes.")) as stream:
            await anext(stream)
    except TimeoutError:
        text = f"{name} does not answer within {patience:g} s: is the network there? FIRST_TOKEN_SECONDS is the limit."
        return Finding("model", ok=False, text=text)
    except Exception as error:  # noqa: BLE001 - any provider's errors; their text may hold the key
        code = status_of(error)
        reason = _REASONS.get(code or 0, "is the network there, and the provider up?")
        answered = f"answers {code}" if code else f"does not answer ({type(error).__name__})"
        return Finding("model", ok=False, text=f"{name} {answered}: {reason}.".replace("?.", "?"))
    return Finding("model", ok=True, text=f"{name} began to answer after {time.monotonic() - began:.1f} s")
