"""What a server shows to strangers, and what they can make it write."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from api.operations import logs
from tests.support.backend import client, free_port, process, served, stopped, until_ready
from tests.support.phone import TOKEN

PRIVATE = "4f6d8e1b7a2c"


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"])
async def test_the_documentation_of_the_routes_is_not_public(start: Any, path: str) -> None:
    backend = await start()
    assert (await backend.http.get(f"{backend.url}{path}")).status_code == 404


async def test_voice_dev_has_it(tmp_path: Path) -> None:
    port = free_port()
    environment = {"MODEL": "demo", "DATABASE_URL": f"sqlite:///{tmp_path}/voice.db"}
    with process(["dev", "--port", str(port)], **environment) as dev:
        async with client() as http:
            url = f"http://127.0.0.1:{port}"
            await until_ready(http, url, dev)
            document = (await http.get(f"{url}/openapi.json")).json()
        await stopped(dev)
    assert "/api/agent" in document["paths"]


async def test_by_default_nobody_says_whose_request_it_passes_on(start: Any) -> None:
    """A proxy on this machine that lets X-Forwarded-For through is the usual case."""
    backend = await start(authorize_per_minute=2)
    url = f"{backend.url}/api/authorize"
    came = [await backend.http.post(url, json={}, headers={"X-Forwarded-For": f"203.0.113.{n}"}) for n in range(3)]
    assert [answer.status_code for answer in came] == [503, 503, 429]


@pytest.mark.parametrize("header", ["X-Real-IP", "X-Forwarded-For", "Forwarded", "Via", "CF-Connecting-IP"])
async def test_metrics_are_not_for_what_a_proxy_passed_on(start: Any, header: str) -> None:
    backend = await start()
    metrics = f"{backend.url}/metrics"
    assert (await backend.http.get(metrics)).status_code == 200
    assert (await backend.http.get(metrics, headers={header: "203.0.113.5"})).status_code == 403


@pytest.mark.parametrize("host", ["rebound.example", "203.0.113.5", "localhost.evil.example", "[2001:db8::1]"])
async def test_metrics_are_not_for_a_page_whose_name_was_rebound_to_this_machine(start: Any, host: str) -> None:
    backend = await start()
    assert (await backend.http.get(f"{backend.url}/metrics", headers={"Host": host})).status_code == 403


async def test_strangers_cannot_fill_the_log_nor_put_anything_into_it(
    tmp_path: Path,
) -> None:
    """With 600 requests of each kind that is refused."""
    platforms = {"TWILIO_AUTH_TOKEN": TOKEN, "TELNYX_TOKEN": "9c1e7d5b3a", "COMPLETIONS_API_KEY": "2b4d6f8a1c"}
    environment = {"MODEL": "demo", "DATABASE_URL": f"sqlite:///{tmp_path}/voice.db", **platforms}
    async with served(**environment) as server:
        for number in range(600):
            await server.http.post(f"{server.url}/api/agent?x={PRIVATE}", content=b"{}")
            await server.http.post(f"{server.url}/v1/chat/completions?x={PRIVATE}", content=b"{}")
            if number % 4 == 0:
                await server.http.post(f"{server.url}/twilio/voice?x={PRIVATE}")
                await server.http.post(f"{server.url}/telnyx/voice/{PRIVATE}?x={PRIVATE}")
                await garbage(server.url)
                with pytest.raises(InvalidStatus):
                    await connect(f"{server.url.replace('http', 'ws', 1)}/telnyx/relay/{PRIVATE}?x={PRIVATE}")
        assert server.process
        _, output = await stopped(server.process)
    assert PRIVATE not in output
    assert "a webhook was refused: signature missing" in output
    assert "Telnyx: a request was refused" in output
    assert len(output) < 80_000, len(output)


@pytest.mark.parametrize("path", ["relay/{}", "voices/{}", "voice/{}/", "{}"])
@pytest.mark.parametrize("token", ["9c1e7d5b3a0f8e6d4c2b", "opensesame", "q7-x2-z9pw"])
async def test_a_slip_in_telnyx_url_does_not_put_its_token_into_the_log(
    start: Any, caplog: pytest.LogCaptureFixture, path: str, token: str
) -> None:
    backend = await start(telnyx_token=token)
    answer = await backend.http.post(f"{backend.url}/telnyx/{path.format(token)}")
    assert answer.status_code == 404
    for form in (logs.Lines(), logs.JsonLines()):
        lines = [form.format(record) for record in caplog.records]
        assert not [line for line in lines if token in line], lines
        assert "/telnyx/" in "".join(lines)


def test_a_name_that_others_give_makes_no_second_line_in_the_log() -> None:
    """Such as those of an MCP server's tools, or of a tool that the model has made up."""
    name = "book\n2026-01-01 00:00:00,000 INFO voice: turn\r\x1b[2K\x85\u2028"
    record = logging.LogRecord("x", logging.WARNING, __file__, 1, "there is no tool %s", (name,), None)
    line = logs.Lines().format(record)
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert r"book\n2026" in line


@pytest.mark.parametrize("name", ["Host", "X-Forwarded-Host"])
@pytest.mark.parametrize("host", ["[", "[::1", "a:b", "a:99999999", "x]", "a:-1"])
async def test_a_host_that_is_none_is_no_fault_of_the_server(start: Any, name: str, host: str) -> None:
    backend = await start(twilio_auth_token=TOKEN)
    unsigned = {"X-Twilio-Signature": "A" * 27 + "="}
    for path in ("twilio/voice", "twilio/ended"):
        assert (await backend.http.post(f"{backend.url}/{path}", headers={**unsigned, name: host})).status_code == 403
    relay = f"{backend.url.replace('http', 'ws', 1)}/twilio/relay"
    with pytest.raises(InvalidStatus) as refused:
        await connect(relay, additional_headers={**unsigned, "X-Forwarded-Host": host})
    assert refused.value.response.status_code == 403


async def garbage(url: str) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"\xff\xff\r\n\r\n")
    await reader.read()
    writer.close()


def test_what_was_left_out_of_the_log_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(logs, "_A_MINUTE", 2)
    sparing = logs.Sparing(clock=lambda: now[0])

    def record(message: str, level: int = logging.WARNING) -> logging.LogRecord:
        return logging.LogRecord("api.x", level, __file__, 1, message, ("y",), None)

    assert [sparing.filter(record("refused %s")) for _ in range(5)] == [True, True, False, False, False]
    assert sparing.filter(record("another %s"))
    assert all(sparing.filter(record("turn %s", logging.INFO)) for _ in range(5))
    now[0] = 31
    again = record("refused %s")
    assert sparing.filter(again)
    assert logs.fields_of(again) == {"left_out": 3}
