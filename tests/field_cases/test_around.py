"""Balancers, proxies and wrong addresses: the cases A1 to A4 of what people who run such agents reported."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from agent.storage import DatabaseError, open_storage
from agent.tls import tls_context
from api.operations import connections, unverified
from api.operations.server import server_config
from api.settings import Settings
from tests.support.backend import SECRET, Backend, process, signed
from tests.support.gemini import Gemini, text
from tests.support.pooler import Pooler
from tests.support.proxy import Proxy

REQUEST = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def update() -> bytes:
    """A request of somebody who is known: signed now, as a signature grows old."""
    made: dict[str, Any] = signed({"type": "session.update", "session_id": "s", "conversation_id": "c"})
    headers = {"Host": "x", "Content-Length": str(len(made["content"])), **made["headers"]}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    body: bytes = made["content"]
    return f"POST /api/agent HTTP/1.1\r\n{lines}\r\n".encode() + body


async def connect(backend: Backend) -> Line:
    host, _, port = backend.url.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))


async def ask(line: Line, request: bytes = REQUEST) -> bytes:
    """The answer's head. IncompleteReadError when the line was closed."""
    line[1].write(request)
    head = await line[0].readuntil(b"\r\n\r\n")
    await line[0].readexactly(len(b'{"status":"ok"}'))
    return head


async def is_closed(line: Line) -> bool:
    try:
        async with asyncio.timeout(5):
            return await line[0].read() == b""
    except TimeoutError:
        return False


# A1: what the environment says of connections


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Certificates are read once in a process."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    tls_context.cache_clear()
    yield monkeypatch
    tls_context.cache_clear()


async def test_a1_the_proxy_and_the_certificates_of_the_environment_are_used(
    start: Any, gemini: Gemini, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A server that only the proxy can reach, and whose certificate only SSL_CERT_FILE knows."""
    gemini.script(text("Here I am."))
    async with Proxy(gemini.url) as proxy:
        proxy.authority.cert_pem.write_to_path(tmp_path / "authority.pem")
        environment.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        environment.setenv("HTTPS_PROXY", proxy.url)
        backend: Backend = await start(google_gemini_base_url="https://gemini.test")
        assert (await backend.caller().say("Hello?")).text == "Here I am."
    assert set(proxy.asked) == {"CONNECT gemini.test:443 HTTP/1.1"}
    assert gemini.warmed


async def test_a1_a_certificate_that_nobody_knows_is_refused(
    start: Any, gemini: Gemini, environment: pytest.MonkeyPatch
) -> None:
    async with Proxy(gemini.url) as proxy:
        environment.setenv("HTTPS_PROXY", proxy.url)
        backend: Backend = await start(google_gemini_base_url="https://gemini.test")
        assert "Sorry" in (await backend.caller().say("Hello?")).text
    assert not gemini.requests


@pytest.mark.parametrize("name", ["HTTP_PROXY", "all_proxy"])
@pytest.mark.parametrize("around", ["", "127.0.0.1, localhost", "other.test,*"])
async def test_a1_no_proxy_is_heeded(
    start: Any, gemini: Gemini, environment: pytest.MonkeyPatch, name: str, around: str
) -> None:
    gemini.script(text("Here I am."))
    async with Proxy(gemini.url) as proxy:
        environment.setenv(name, proxy.url)
        environment.setenv("NO_PROXY", around or "127.0.0.1")  # the test's own way to the backend
        url = gemini.url.replace("127.0.0.1", "localhost")
        backend: Backend = await start(google_gemini_base_url=url)
        assert (await backend.caller().say("Hello?")).text == "Here I am."
    assert bool(proxy.asked) == (not around)
    assert all(f" {url}/" in line for line in proxy.asked)


# A2: a load balancer that keeps its connections


def test_a2_connections_are_kept_longer_than_common_balancers_keep_them() -> None:
    """nginx and AWS use an idle connection for 60 s, Google Cloud for 600 s."""
    assert server_config(FastAPI(), Settings(_env_file=None)).timeout_keep_alive > 600


async def test_a2_how_long_an_idle_connection_is_kept_is_a_setting(start: Any) -> None:
    backend = await start(keep_alive_seconds=1)
    line = await connect(backend)
    assert b"200 OK" in await ask(line)
    began = time.monotonic()
    assert await is_closed(line)
    assert time.monotonic() - began > 0.8
    line[1].close()


async def test_a2_a_connection_outlives_the_time_for_a_requests_head(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What limits a slow request does not limit an idle connection."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    line = await connect(await start())
    for _ in range(2):
        assert b"200 OK" in await ask(line)
        await asyncio.sleep(0.5)
    assert b"200 OK" in await ask(line)
    line[1].close()


async def test_a2_of_too_many_connections_the_one_that_was_idle_longest_is_closed(
    start: Any, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many are kept idle, a new caller is let in, and a platform that has just been served is not cut off."""
    monkeypatch.setattr(unverified, "MAX_CONNECTIONS", 4)
    gemini.script(text("Here I am."))
    backend = await start()
    kept = [await connect(backend) for _ in range(4)]
    for line in [*kept, kept[0]]:
        assert b"200 OK" in await ask(line, update())
    assert (await backend.caller().say("Hello?")).text == "Here I am."
    assert await is_closed(kept[1])
    assert b"200 OK" in await ask(kept[0], update())
    for _, writer in kept:
        writer.close()


# A3: the webhook's URL with a slash too many, or a slip in it


async def test_a3_the_webhook_is_served_with_a_slash_at_its_end(start: Any, gemini: Gemini) -> None:
    gemini.script(text("Here I am."))
    backend: Backend = await start()
    body = {"type": "message", "session_id": "s", "conversation_id": "c", "turn_id": "t", "text": "Hello?"}
    answer = await backend.http.post(f"{backend.url}/api/agent/", **signed(body))
    assert answer.status_code == 200
    assert "Here" in answer.text


@pytest.mark.parametrize("path", ["/", "/api/agents", "/api/agent//", "/api/authorize/", "/readyz/"])
async def test_a3_another_path_is_a_404_and_a_line_in_the_log(
    start: Any, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    """Never a redirect: nobody signs a webhook again for it, and behind a proxy it leads to http."""
    backend: Backend = await start()
    answer = await backend.http.post(f"{backend.url}{path}", json={}, follow_redirects=False)
    assert answer.status_code == 404
    assert answer.json() == {"error": "There is nothing at this path."}
    [line] = [record for record in caplog.records if "not served" in record.message]
    assert line.levelno == logging.WARNING
    assert line.__dict__["fields"] == {"path": path}


async def test_a3_the_log_is_not_flooded_by_them(start: Any, caplog: pytest.LogCaptureFixture) -> None:
    backend: Backend = await start()
    for _ in range(30):
        await backend.http.post(f"{backend.url}/{'x' * 500}")
    lines = [record for record in caplog.records if "not served" in record.message]
    assert 0 < len(lines) <= 11
    assert all(len(line.__dict__["fields"]["path"]) <= 60 for line in lines)


# A4: a proxy in front of Postgres


async def test_a4_a_proxy_that_pools_transactions_is_noticed_at_the_start(postgres_url: str) -> None:
    """A sentence that says what to do, and the process ends."""
    async with Pooler(postgres_url) as pooler:
        with pytest.raises(DatabaseError, match=r"pools transactions.*pool_mode=session"):
            async with open_storage(pooler.url):
                pass
        env = {"DATABASE_URL": pooler.url, "MODEL": "demo", "LAYERCODE_WEBHOOK_SECRET": SECRET}
        with process(["serve", "--port", "0"], **env) as serving:
            said, _ = await asyncio.to_thread(serving.communicate, timeout=120)
    assert serving.returncode not in (0, None)
    assert said.count("pool_mode=session") == 1
    assert "Traceback" not in said


async def test_a4_a_proxy_that_pools_sessions_is_served(postgres_url: str) -> None:
    async with Pooler(postgres_url, sessions=True) as pooler, open_storage(pooler.url) as storage:
        assert await storage.database.fetch("SELECT count(*) FROM turns") == [(0,)]
