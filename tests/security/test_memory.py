"""A connection's memory comes back when it is closed, not when the garbage is collected, which is rare in a server."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.operations.connections import Connection
from tests.security.hostile import Hostile, left
from tests.support.backend import backend
from tests.support.gemini import Gemini
from tests.support.platforms import platform_settings

KINDS = Hostile("127.0.0.1", 1).kinds(random.Random(0))
LEFT_TO_IT = "upgrade without a key"  # the error that websockets keeps of it has frames that hold all of it
QUICK = [kind for kind in KINDS if "slow" not in kind and kind != LEFT_TO_IT]


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def held() -> int:
    return sum(type(one) is Connection for one in gc.get_objects())


async def test_a_closed_connection_is_freed_without_the_collector(
    gemini: Gemini, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.security.hostile.HOLD", 1.0)
    async with backend(**platform_settings(gemini, tmp_path)) as server:
        host, _, port = server.url.removeprefix("http://").partition(":")
        kinds = Hostile(host, int(port)).kinds(random.Random(7))
        before = held()
        await asyncio.gather(*(left(host, int(port), kinds[kind](), read=True) for kind in QUICK))
        for _ in range(100):
            if held() <= before:
                break
            await asyncio.sleep(0.05)
        assert held() <= before
