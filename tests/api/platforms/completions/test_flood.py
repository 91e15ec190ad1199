"""Many requests that are to be refused, at once: a client with the key is answered meanwhile and afterwards."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.agent.test_storm import resources
from tests.support.backend import Backend, served
from tests.support.gemini import Gemini, text
from tests.support.platforms import COMPLETIONS_KEY

REQUESTS = 40
AT_ONCE = 10
CUT_OFF = 0  # in place of a status: refused while the body was still on its way, and the connection closed
RIGHT = f"Bearer {COMPLETIONS_KEY}"
HUGE = b'{"messages": [{"role": "user", "content": "' + b"x" * (2 * 1024 * 1024)
MANY = b'{"user": "c", "messages": [' + b'{"role": "user"},' * 12_000 + b'{"role": "user"}]}'


@pytest.mark.parametrize(
    ("key", "body", "status"),
    [("Bearer wrong", b"{}", 401), ("Bearer wrong", HUGE, 401), (RIGHT, HUGE, 413), (RIGHT, MANY, 400)],
    ids=["wrong keys", "wrong keys with huge bodies", "huge bodies", "too many messages"],
)
async def test_a_flood_is_refused_and_the_others_go_on(
    gemini: Gemini, tmp_path: Path, key: str, body: bytes, status: int
) -> None:
    gemini.answer = lambda _: text("It is sunny.")
    env = {
        "GOOGLE_API_KEY": "test-key", "GOOGLE_GEMINI_BASE_URL": gemini.url, "COMPLETIONS_API_KEY": COMPLETIONS_KEY,
        "DATABASE_URL": f"sqlite:///{tmp_path}/voice.db",
    }  # fmt: skip
    async with served(**env) as backend:
        assert backend.process
        before = resources(backend.process.pid)
        await completion(backend, "before")
        flood = asyncio.create_task(refusals(backend, key, body))
        for number in range(3):
            await completion(backend, f"meanwhile {number}")
        refused = await flood
        assert refused.total() == REQUESTS
        assert set(refused) <= ({status, CUT_OFF} if body is HUGE else {status})
        await completion(backend, "after")
        after = resources(backend.process.pid)
    assert after.files < before.files + 20
    assert after.memory_mb < before.memory_mb + 150


async def completion(backend: Backend, conversation: str) -> None:
    body: dict[str, Any] = {"user": conversation, "messages": [{"role": "user", "content": "The weather?"}]}
    made = await post(backend, RIGHT, json=body)
    assert made.json()["choices"][0]["message"]["content"] == "It is sunny."


async def refusals(backend: Backend, key: str, body: bytes) -> Counter[int]:
    room = asyncio.Semaphore(AT_ONCE)

    async def one() -> int:
        async with room:
            try:
                return int((await post(backend, key, content=body)).status_code)
            except httpx.TransportError:
                return CUT_OFF

    return Counter(await asyncio.gather(*(one() for _ in range(REQUESTS))))


async def post(backend: Backend, key: str, **body: Any) -> Any:
    return await backend.http.post(
        f"{backend.url}/v1/chat/completions", headers={"Authorization": key, "Connection": "close"}, **body
    )
