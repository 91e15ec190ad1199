"""Requests of which only a part comes: who has no signature is refused before, and who has not shown yet who he is
makes room for who has."""

from __future__ import annotations

import asyncio
import resource
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from api.operations import unverified
from tests.agent.test_storm import resources
from tests.support.backend import Backend, served, signed
from tests.support.gemini import Gemini, text
from tests.support.phone import TOKEN, signature

MIB = 1024 * 1024
FILES = 1000  # that the flooded server may open
FLOOD = 1600
PATIENCE = 5.0  # seconds for a turn in a flood


def head(path: str = "/api/agent", **headers: str) -> bytes:
    """Of a request that announces 1 MiB."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{lines}Content-Length: {MIB}\r\n\r\n".encode()


def forged(at: float | None = None) -> bytes:
    """With a signature as they look, by somebody who does not know the secret."""
    return head(**signed(b"", secret="whsec_another_one", at=at)["headers"])


async def answer_to(backend: Backend, request: bytes, seconds: float = 3) -> bytes:
    """The status line, although the body does not come."""
    host, _, port = backend.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    try:
        async with asyncio.timeout(seconds):
            return await reader.readline()
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (head(), 401),
        (head(layercode_signature="t=1"), 401),
        (forged(at=time.time() - 1000), 401),
        (head("/twilio/voice"), 403),
        (head("/twilio/ended", x_twilio_signature="x"), 403),
        (head("/telnyx/ended/another"), 403),
        (head("/v1/chat/completions", authorization="Bearer another"), 401),
    ],
    ids=["missing", "malformed", "stale", "Twilio, missing", "Twilio, malformed", "Telnyx", "completions"],
)
async def test_without_a_credential_no_body_is_waited_for(start: Any, request_: bytes, status: int) -> None:
    secrets = {"telnyx_token": "4f6d8e1b7a", "completions_api_key": "9c1e7d5b3a"}
    backend = await start(twilio_auth_token=TOKEN, **secrets)
    assert (await answer_to(backend, request_ + b"x")).startswith(b"HTTP/1.1 %d " % status)


async def test_a_signature_that_may_be_right_is_read_to_its_body(start: Any) -> None:
    """A form too. Without this the tests above could pass by refusing everybody."""
    backend = await start(twilio_auth_token=TOKEN)
    with pytest.raises(TimeoutError):
        await answer_to(backend, forged() + b"x", seconds=0.5)
    fields = {"CallSid": "CA1", "From": "+493012345678"}
    headers = signature(f"{backend.url}/twilio/voice", fields)
    answer = await backend.http.post(f"{backend.url}/twilio/voice", data=fields, headers=headers)
    assert (answer.status_code, "<ConversationRelay" in answer.text) == (200, True)


@asynccontextmanager
async def flooded(backend: Backend, count: int, begin: bytes) -> AsyncIterator[Counter[str]]:
    """So many connections, each with the beginning of a request; who is closed comes again. Yields how often one
    `came` and how often one was `closed`, once all have come."""
    host, _, port = backend.url.removeprefix("http://").partition(":")
    seen = Counter[str]()

    async def one() -> None:
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(host, int(port))
                seen["came"] += 1
                try:
                    writer.write(begin)
                    await reader.read()
                finally:
                    seen["closed"] += 1
                    writer.close()
            await asyncio.sleep(1)

    tasks = [asyncio.create_task(one()) for _ in range(count)]
    try:
        async with asyncio.timeout(30):
            while seen["came"] < count:
                await asyncio.sleep(0.05)
        yield seen
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@pytest.fixture
def _many_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
async def server(gemini: Gemini, tmp_path: Any) -> AsyncIterator[Backend]:
    gemini.answer = lambda _: text("Hello.")
    model = {"GOOGLE_API_KEY": "test-key", "GOOGLE_GEMINI_BASE_URL": gemini.url}
    async with served(**model, DATABASE_URL=f"sqlite:///{tmp_path}/voice.db") as backend:
        assert backend.process
        resource.prlimit(backend.process.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
        yield backend


async def slowest(backend: Backend, turns: int) -> float:
    """The seconds that the slowest of some signed callers, one after the other, waited for all of the answer."""
    waited = 0.0
    for _ in range(turns):
        began = time.monotonic()
        async with asyncio.timeout(PATIENCE):
            assert (await backend.caller().say("Hello?")).text == "Hello."
        waited = max(waited, time.monotonic() - began)
    return waited


@pytest.mark.usefixtures("_many_files")
async def test_callers_are_answered_while_half_bodies_take_every_descriptor(server: Backend) -> None:
    async with flooded(server, FLOOD, forged() + b"x" * 10) as seen:
        waited = await slowest(server, 15)
        print(f"the slowest of 15 turns took {waited:.2f} s beside {FLOOD} half bodies: {dict(seen)}")
        assert seen["closed"] > FLOOD - FILES  # or there was room for all of them, and the test could not fail


@pytest.mark.usefixtures("_many_files")
async def test_half_bodies_are_held_within_a_budget(server: Backend) -> None:
    assert server.process
    await slowest(server, 1)
    before = resources(server.process.pid).memory_mb
    async with flooded(server, 300, forged() + b"x" * 1_000_000):
        waited = await slowest(server, 10)
        grown = resources(server.process.pid).memory_mb - before
        print(f"grown by {grown:.0f} MiB; the slowest of 10 turns took {waited:.2f} s")
    assert grown < 120


async def test_of_too_many_bytes_the_oldest_body_goes(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the newest may still turn out to be signed."""
    monkeypatch.setattr(unverified, "MAX_BYTES", 100_000)
    backend: Backend = await start()
    host, _, port = backend.url.removeprefix("http://").partition(":")
    made = []
    for _ in range(4):
        made.append(await asyncio.open_connection(host, int(port)))
        made[-1][1].write(forged() + b"x" * 40_000)
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.2)
    assert [reader.at_eof() or reader.exception() is not None for reader, _ in made] == [True, True, False, False]
    for _, writer in made:
        writer.close()
