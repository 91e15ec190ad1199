"""One answer of the stand-in, without a socket or a backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from api.playground.answer import Answer
from api.playground.webhooks import WebhookRequest


async def test_an_answer_ends_also_when_who_cancels_it_is_cancelled() -> None:
    dropped = asyncio.Event()

    async def silent(request: WebhookRequest) -> AsyncGenerator[dict[str, Any]]:
        try:
            await asyncio.sleep(60)
            yield {}
        finally:
            dropped.set()

    async def nothing(_: Any) -> None:
        pass

    answer = Answer("turn_1", WebhookRequest(b""), silent, nothing)
    answer.start(nothing)
    await asyncio.sleep(0.01)
    dropping = asyncio.create_task(answer.cancel())
    await asyncio.sleep(0.01)
    dropping.cancel()
    await asyncio.wait_for(dropped.wait(), 5)
