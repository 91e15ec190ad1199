"""Who gets into the playground: keys, hosts, origins; and that `voice serve` has none of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from api.playground.conversation import SESSION_SECONDS
from api.playground.sessions import InvalidTerms, Sessions
from tests.support.backend import Backend, served
from tests.support.playground import Client, development, socket_url

KEY = "lc_0123456789abcdef"
AUTHORIZE = "/layercode/v1/agents/web/authorize_session"
WEBSOCKET = "/layercode/v1/agents/web/websocket"
PATHS = ["/", "/index.html", "/playground/state", "/playground/authorize", "/playground/save", AUTHORIZE, WEBSOCKET]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Backend]:
    async with development(database_url=f"sqlite:///{tmp_path}/dev.db", layercode_api_key=KEY) as made:
        yield made


async def post(server: Backend, path: str, body: Any, **headers: str) -> httpx.Response:
    return await server.http.post(f"{server.url}{path}", json=body, headers=headers)


@pytest.mark.parametrize(
    ("bearer", "body", "named"),
    [
        ("", {"agent_id": "a"}, "bearer"),
        ("Basic xyz", {"agent_id": "a"}, "bearer"),
        ("Bearer another", {"agent_id": "a"}, "API key"),
        (f"Bearer {KEY}", {}, "agent_id"),
        (f"Bearer {KEY}", [], "JSON object"),
        (f"Bearer {KEY}", {"agent_id": "a", "conversation_id": 7}, "conversation_id"),
        (f"Bearer {KEY}", {"agent_id": "a", "config": {"transcription": {"trigger": "x"}}}, "trigger"),
        (f"Bearer {KEY}", {"agent_id": "a", "config": {"playground": {"delay_ms": [5, 1]}}}, "delay_ms"),
        (f"Bearer {KEY}", {"agent_id": "a", "custom_headers": {"X": "a\r\nY: b"}}, "custom_headers"),
    ],
)
async def test_what_cannot_be_authorized_is_a_400_that_says_why(
    server: Backend, bearer: str, body: Any, named: str
) -> None:
    refused = await post(server, AUTHORIZE, body, **({"Authorization": bearer} if bearer else {}))
    assert refused.status_code == 400
    assert list(refused.json()) == ["error"]
    assert named in refused.json()["error"]


async def test_a_session_is_authorized_as_the_sdk_needs_it(server: Backend) -> None:
    """By the stand-in, and by the backend's own route, which asks it, but takes no `config` from a page."""
    config = {"transcription": {"trigger": "push_to_talk"}, "vad": {"enabled": False}}
    body: dict[str, Any] = {
        "agent_id": "a",
        "metadata": {},
        "sdk_version": "2.7.0",
        "conversation_id": "c1",
        "custom_headers": None,
    }
    own = {"trigger": "automatic", "automatic": True, "can_interrupt": True}
    asked = {**own, "trigger": "push_to_talk", "automatic": False}
    for path, headers, transcription in (
        (AUTHORIZE, {"Authorization": f"Bearer {KEY}"}, asked),
        ("/api/authorize", {}, own),
    ):
        answer = await post(server, path, {**body, "config": config}, **headers)
        assert answer.status_code == 200
        made = answer.json()
        assert made["conversation_id"] == "c1"
        assert made["config"]["transcription"] == transcription
        assert made["config"]["vad"]["enabled"] is (transcription == own)
        assert made["config"]["vad"]["frame_samples"] == 512
        async with websockets.connect(socket_url(server.url, made["client_session_key"])) as socket:
            client = Client(socket, "c1")
            await client.send("client.ready")
            await client.until("response.end")
            await client.close()


async def test_without_a_key_of_our_own_any_will_do(tmp_path: Path) -> None:
    async with development(database_url=f"sqlite:///{tmp_path}/dev.db") as server:
        assert (await post(server, AUTHORIZE, {"agent_id": "a"}, Authorization="Bearer x")).status_code == 200
        assert (await post(server, AUTHORIZE, {"agent_id": "a"})).status_code == 400
        assert (await post(server, "/api/authorize", {"agent_id": "a"})).status_code == 200


async def test_authorizing_a_conversation_again_voids_its_old_key(server: Backend) -> None:
    old, new = [
        (await post(server, "/playground/authorize", {"conversation_id": "c1"})).json()["client_session_key"]
        for _ in "12"
    ]
    assert await opens(socket_url(server.url, old)) == 401
    assert await opens(socket_url(server.url, "")) == 401
    assert await opens(socket_url(server.url, new)) == 101


def test_a_key_lives_one_hour_and_not_everything_is_kept() -> None:
    now = 0.0
    sessions = Sessions(clock=lambda: now)
    key = sessions.authorize({})["client_session_key"]
    now = SESSION_SECONDS - 1
    assert sessions.find(key)
    now = SESSION_SECONDS
    assert sessions.find(key) is None
    newest = [sessions.authorize({})["client_session_key"] for _ in range(1_500)]
    assert sum(sessions.find(key) is not None for key in newest) == 1_000
    assert sessions.find(newest[-1])
    with pytest.raises(InvalidTerms):
        sessions.authorize({"custom_metadata": {"x": float("inf")}})


async def test_a_key_and_a_session_end_after_their_hour(server: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.playground.session.SESSION_SECONDS", 0.1)
    key = (await post(server, "/playground/authorize", {})).json()["client_session_key"]
    async with websockets.connect(socket_url(server.url, key)) as socket:
        client = Client(socket, "c1")
        assert await client.closed() == (4002, "A session lasts an hour at most, and this one is over.")
    monkeypatch.setattr("api.playground.sessions.SESSION_SECONDS", 0)
    expired = (await post(server, "/playground/authorize", {})).json()["client_session_key"]
    assert [await opens(socket_url(server.url, one)) for one in (key, expired)] == [101, 401]


async def test_the_page_is_in_no_frame_and_is_read_again_when_it_has_changed(server: Backend) -> None:
    for path in ("/", "/page.js"):
        answer = await server.http.get(f"{server.url}{path}")
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["content-security-policy"] == "frame-ancestors 'none'"
        assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:{port}", "127.0.0.1:{port}", "[::1]:{port}", "127.1.2.3"])
async def test_a_local_host_is_let_in(server: Backend, host: str) -> None:
    named = {"Host": host.format(port=server.url.rpartition(":")[2])}
    for path in ("/", "/playground/state"):
        assert (await server.http.get(f"{server.url}{path}", headers=named)).status_code == 200
    assert (await post(server, "/playground/authorize", {}, **named)).status_code == 200


@pytest.mark.parametrize(
    "host", ["x.trycloudflare.com", "localhost.evil.example", "127.0.0.1.nip.io", "", "a@localhost:1"]
)
async def test_a_host_with_a_name_finds_nothing_but_the_backend(
    server: Backend, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And whoever reads the log learns why, once."""
    caplog.set_level("INFO", "api.playground.guard")
    key = (await post(server, "/playground/authorize", {})).json()["client_session_key"]
    for path in PATHS:
        for method in ("GET", "POST"):
            answer = await server.http.request(method, f"{server.url}{path}", headers={"Host": host})
            assert answer.status_code == 404, (method, path)
    assert (await server.http.get(f"{server.url}/livez", headers={"Host": host})).status_code == 200
    assert [record.name for record in caplog.records].count("api.playground.guard") == 1
    if host:
        assert await opens(socket_url(server.url, key), host=host) == 404


async def test_pages_of_other_origins_are_kept_out(server: Backend) -> None:
    key = (await post(server, "/playground/authorize", {})).json()["client_session_key"]
    bearer = {"Authorization": f"Bearer {KEY}"}
    for origin in ("https://evil.example", "null", "http://localhost.evil.example", "http://localhost@evil.example"):
        assert (await post(server, "/playground/authorize", {}, Origin=origin)).status_code == 403
        assert (await post(server, "/playground/save", {}, Origin=origin)).status_code == 403
        assert (await post(server, AUTHORIZE, {"agent_id": "a"}, Origin=origin, **bearer)).status_code == 403
        assert await opens(socket_url(server.url, key), origin=origin) == 403
    near = "http://localhost:5173"
    assert (await post(server, "/playground/authorize", {}, Origin=near)).status_code == 403
    assert (await server.http.get(f"{server.url}/playground/state", headers={"Origin": near})).status_code == 403
    allowed = await post(server, AUTHORIZE, {"agent_id": "a"}, Origin=near, **bearer)
    assert allowed.headers["access-control-allow-origin"] == near
    assert await opens(socket_url(server.url, key), origin=near) == 101
    assert (await post(server, "/playground/authorize", {}, Origin=server.url)).status_code == 200


@pytest.mark.parametrize("path", [AUTHORIZE, "/api/authorize"])
async def test_local_pages_pass_a_browsers_preflight(server: Backend, path: str) -> None:
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    near, far = [
        await server.http.options(f"{server.url}{path}", headers={"Origin": origin, **asks})
        for origin in ("http://127.0.0.1:5173", "https://evil.example")
    ]
    assert near.status_code == 200
    assert near.headers["access-control-allow-origin"] == "http://127.0.0.1:5173"
    assert "access-control-allow-origin" not in far.headers


async def opens(url: str, host: str | None = None, origin: str | None = None) -> int:
    """The status with which a socket is opened, 101, or refused."""
    headers = {name: value for name, value in (("Host", host), ("Origin", origin)) if value}
    request = httpx.Request("GET", url.replace("ws:", "http:"), headers=headers)
    lines = [f"GET {request.url.raw_path.decode()} HTTP/1.1", *(f"{k}: {v}" for k, v in request.headers.items())]
    upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    lines += [*upgrade, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    reader, writer = await asyncio.open_connection(request.url.host, request.url.port)
    writer.write("\r\n".join([*lines, "", ""]).encode())
    status = await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    return int(status.split()[1])


MODULES = '''
import sys
from agent import voice_tool

@voice_tool
async def modules(kind: str = "") -> str:
    """Modules that are loaded in this process."""
    found = [name for name in ("api.app", "api.playground", "api.cli.dev") if name in sys.modules]
    return f"Loaded: {', '.join(found)}."
'''


async def test_serve_has_nothing_of_it(tmp_path: Path) -> None:
    """Not a path, and not a module."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "modules.py").write_text(MODULES)
    environment = {"MODEL": "demo", "TOOLS_DIR": "tools", "DATABASE_URL": "sqlite:///voice.db"}
    async with served(**environment) as server:
        for path in PATHS:
            for method in ("GET", "POST"):
                assert (await server.http.request(method, f"{server.url}{path}")).status_code == 404, (method, path)
        assert await opens(socket_url(server.url, "key")) in (403, 404)
        found = await server.caller().say("Which modules are loaded?")
    assert found.text.endswith("Loaded: api.app.")
