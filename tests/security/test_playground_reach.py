"""Who reaches `voice dev`'s playground: this machine by its loopback names, and nobody through a proxy or tunnel."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import websockets

from tests.support.backend import Backend, client, free_port, process, stopped, until_ready
from tests.support.playground import authorized, development, socket_url

AUTHORIZE = "/layercode/v1/agents/web/authorize_session"
PAGES = ("http://203.0.113.5", "http://192.168.1.7:8000", "http://0.0.0.0:8000", "http://[2001:db8::1]", "http://10.1")
HOSTS = ("203.0.113.5", "192.168.1.7", "0.0.0.0", "[2001:db8::1]", "169.254.169.254")
PASSED_ON = {
    "Via": "1.1 proxy",
    "Forwarded": "for=203.0.113.5",
    "X-Forwarded-For": "203.0.113.5",
    "X-Forwarded-Host": "a.example",
    "X-Forwarded-Proto": "https",
    "X-Real-IP": "203.0.113.5",
    "CF-Connecting-IP": "203.0.113.5",
    "CF-Ray": "8f1",
    "CDN-Loop": "cloudflare",
    "True-Client-IP": "203.0.113.5",
    "X-Original-Host": "a.example",
    "X-Tunnel-Id": "1",
    "X-Client-IP": "203.0.113.5",
    "X-Azure-FDID": "1",
    "ngrok-trace-id": "1",
    "Fly-Client-IP": "203.0.113.5",
    "Fastly-Client-IP": "203.0.113.5",
    "CloudFront-Viewer-Address": "203.0.113.5:4711",
    "Tailscale-User-Login": "a@example.com",
}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Backend]:
    async with development(database_url=f"sqlite:///{tmp_path}/dev.db") as made:
        yield made


@pytest.mark.parametrize("origin", PAGES)
async def test_a_page_on_an_ip_address_gets_no_key_and_no_socket(server: Backend, origin: str) -> None:
    """An Origin is as local as a Host: localhost and loopback, nothing else."""
    headers = {"Origin": origin, "Authorization": "Bearer x"}
    for path in (AUTHORIZE, "/playground/authorize", "/playground/save"):
        answer = await server.http.post(f"{server.url}{path}", json={"agent_id": "a"}, headers=headers)
        assert answer.status_code == 403, path
    for path in (AUTHORIZE, "/api/authorize"):
        asks = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        preflight = await server.http.options(f"{server.url}{path}", headers=asks)
        assert "access-control-allow-origin" not in preflight.headers
    key = (await authorized(server.url))["client_session_key"]
    assert await refused(socket_url(server.url, key), Origin=origin) == 403


@pytest.mark.parametrize("host", HOSTS)
async def test_a_host_that_is_not_loopback_finds_nothing(server: Backend, host: str) -> None:
    for path in ("/", "/playground/state"):
        assert (await server.http.get(f"{server.url}{path}", headers={"Host": host})).status_code == 404


@pytest.mark.parametrize("header", PASSED_ON)
async def test_what_a_proxy_or_a_tunnel_passed_on_never_reaches_the_playground(server: Backend, header: str) -> None:
    """Whatever its Host says: a tunnel can be told to say localhost."""
    passed_on = {header: PASSED_ON[header]}
    key = (await authorized(server.url))["client_session_key"]
    assert (await server.http.get(f"{server.url}/", headers=passed_on)).status_code == 404
    answer = await server.http.post(f"{server.url}/playground/authorize", json={}, headers=passed_on)
    assert answer.status_code == 404
    assert await refused(socket_url(server.url, key), **passed_on) == 404
    assert (await server.http.get(f"{server.url}/livez", headers=passed_on)).status_code == 200


async def test_a_host_that_was_named_is_let_in(tmp_path: Path) -> None:
    named = {"Host": "192.168.1.7:8000", "Origin": "http://192.168.1.7:8000"}
    async with development(hosts=["192.168.1.7"], database_url=f"sqlite:///{tmp_path}/dev.db") as server:
        answer = await server.http.post(f"{server.url}/playground/authorize", json={}, headers=named)
        assert answer.status_code == 200
        other = {"Host": "192.168.1.8:8000"}
        assert (await server.http.get(f"{server.url}/", headers=other)).status_code == 404


async def test_host_0_0_0_0_says_what_it_opens(tmp_path: Path) -> None:
    environment = {"MODEL": "demo", "DATABASE_URL": f"sqlite:///{tmp_path}/voice.db"}
    port = free_port()
    with process(["dev", "--host", "0.0.0.0", "--port", str(port), "--allow-host", "box.local"], **environment) as dev:
        async with client() as http:
            url = f"http://127.0.0.1:{port}"
            await until_ready(http, url, dev)
            assert (await http.get(url, headers={"Host": f"box.local:{port}"})).status_code == 200
            assert (await http.get(url, headers={"Host": f"192.168.1.7:{port}"})).status_code == 404
        _, output = await stopped(dev)
    assert f"Everybody who reaches port {port} of this machine" in output
    assert "--allow-host" in output


async def refused(url: str, **headers: str) -> int:
    """The status with which a socket is refused; 101 when it opens."""
    try:
        async with websockets.connect(url, additional_headers=headers):
            return 101
    except websockets.InvalidStatus as refusal:
        return refusal.response.status_code
