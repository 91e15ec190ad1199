"""What api.authorize promises, over real ASGI; sockets where the network itself is what fails."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from api.platforms.layercode.authorize import MAX_BODY, authorize_router

KEY = "lc_live_t0psecret"
GRANTED = {
    "client_session_key": "lc_sesskey_abc123",
    "conversation_id": "lc_conv_abc123",
    "config": {"transcription": {"trigger": "automatic", "can_interrupt": True}, "vad": {"enabled": True}},
}
GENERIC = {"error": "Layercode refused to authorize the session."}
UNUSABLE = {"error": "Layercode gave no usable answer."}
UNREACHABLE = {"error": "Layercode could not be reached."}


class Layercode:
    """A stand-in for the REST API: remembers what it was asked, answers what it was told."""

    def __init__(self, answer: Response | None = None) -> None:
        self.answer = answer or JSONResponse(GRANTED)
        self.asked: list[tuple[httpx.Headers, bytes]] = []
        routes = [Route("/v1/agents/web/authorize_session", self.authorize_session, methods=["POST"])]
        self.transport = httpx.ASGITransport(Starlette(routes=routes))

    async def authorize_session(self, request: Request) -> Response:
        self.asked.append((httpx.Headers(request.headers.raw), await request.body()))
        return self.answer

    @property
    def body(self) -> Any:
        [(_, body)] = self.asked
        return json.loads(body)


@asynccontextmanager
async def browser(
    upstream: httpx.AsyncBaseTransport | None,
    *,
    api_url: str = "https://layercode.test/v1",
    api_key: str | None = KEY,
    agent_id: str | None = "ag-1",
    timeout: float = 5,
    per_minute: int = 1000,
) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    async with httpx.AsyncClient(transport=upstream, timeout=timeout) as http:
        options: Any = {"api_url": api_url, "api_key": api_key, "agent_id": agent_id, "per_minute": per_minute}
        app.include_router(authorize_router(http=lambda: http, **options))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            yield client


async def ask(layercode: Layercode, body: Any, **options: Any) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with browser(layercode.transport, **options) as client:
        return await client.post("/api/authorize", content=content)


# --- the way there and back


async def test_what_the_sdk_sends_goes_on_and_the_answer_comes_back_unchanged() -> None:
    layercode = Layercode(Response(b'{"config": {"a":1.0},\n "client_session_key":"k"}'))
    body = {"agent_id": "ag-1", "metadata": {"é": [1, 2.5, None]}, "sdk_version": "2.7.0", "conversation_id": "☕"}
    answer = await ask(layercode, {**body, "custom_metadata": {"y": 1}})
    assert (answer.status_code, answer.content) == (200, b'{"config": {"a":1.0},\n "client_session_key":"k"}')
    assert answer.headers["content-type"] == "application/json"
    assert layercode.body == {**body, "custom_metadata": {"y": 1}}


async def test_a_page_cannot_send_a_sessions_webhooks_elsewhere() -> None:
    """`config` could name another webhook URL, and `custom_headers` could sign in its name."""
    layercode = Layercode()
    theirs = {"session_webhook": {"url": "https://evil.example"}, "plugins": []}
    answer = await ask(layercode, {"metadata": {}, "config": theirs, "custom_headers": {"a": "b"}, "x": 1})
    assert answer.status_code == 200
    assert layercode.body == {"agent_id": "ag-1", "metadata": {}}


@pytest.mark.parametrize("name", ["metadata", "custom_metadata"])
async def test_metadata_is_limited(name: str) -> None:
    layercode = Layercode()
    assert (await ask(layercode, {name: {"a": "x" * 15_000}})).status_code == 200
    answer = await ask(layercode, {name: {"a": "x" * 16_000}})
    assert (answer.status_code, answer.json()) == (413, {"error": "The metadata is larger than 16000 characters."})
    assert len(layercode.asked) == 1


async def test_one_address_gets_so_many_sessions_a_minute_and_is_told_when_to_come_again() -> None:
    layercode = Layercode()
    async with browser(layercode.transport, per_minute=3) as client:
        statuses = [(await client.post("/api/authorize", json={})).status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        answer = await client.post("/api/authorize", json={})
    assert answer.json() == {"error": "Too many sessions were asked for. Try again in a moment."}
    assert 1 <= int(answer.headers["retry-after"]) <= 20
    assert len(layercode.asked) == 3


async def test_the_key_goes_to_layercode_as_a_bearer_token_and_nothing_of_the_browsers_headers_does() -> None:
    layercode = Layercode()
    async with browser(layercode.transport) as client:
        await client.post("/api/authorize", json={}, headers={"Authorization": "mine", "Cookie": "a=b"})
    [(headers, _)] = layercode.asked
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["content-type"] == "application/json"
    assert "cookie" not in headers


async def test_a_slash_at_the_end_of_the_url_does_not_matter() -> None:
    answer = await ask(Layercode(), {}, api_url="https://layercode.test/v1/")
    assert answer.json() == GRANTED


async def test_white_space_around_the_key_does_not_matter() -> None:
    layercode = Layercode()
    await ask(layercode, {}, api_key=f" {KEY}\n")
    assert layercode.asked[0][0]["authorization"] == f"Bearer {KEY}"


# --- the agent


@pytest.mark.parametrize("body", [{}, {"agent_id": None}, {"agent_id": ""}])
async def test_the_configured_agent_is_filled_in(body: dict[str, Any]) -> None:
    layercode = Layercode()
    assert (await ask(layercode, {**body, "metadata": {}})).status_code == 200
    assert layercode.body == {"agent_id": "ag-1", "metadata": {}}


async def test_any_agent_is_served_when_none_is_configured() -> None:
    layercode = Layercode()
    assert (await ask(layercode, {"agent_id": "ag-2"}, agent_id=None)).status_code == 200
    assert layercode.body == {"agent_id": "ag-2"}


@pytest.mark.parametrize("configured", [None, ""])
async def test_no_agent_at_all_is_the_callers_mistake(configured: str | None) -> None:
    layercode = Layercode()
    answer = await ask(layercode, {}, agent_id=configured)
    assert (answer.status_code, answer.json()) == (400, {"error": "agent_id: field required"})
    assert layercode.asked == []


async def test_another_agent_than_the_configured_one_is_refused() -> None:
    layercode = Layercode()
    answer = await ask(layercode, {"agent_id": "ag-2"})
    assert (answer.status_code, answer.json()) == (403, {"error": "This server does not serve that agent."})
    assert layercode.asked == []


async def test_an_agent_named_twice_is_one_agent_to_both_sides() -> None:
    layercode = Layercode()
    await ask(layercode, b'{"agent_id":"ag-2","agent_id":"ag-1"}')
    assert b"ag-2" not in layercode.asked[0][1]


@pytest.mark.parametrize("agent", [5, True, ["ag-1"], {"ag-1": 1}])
@pytest.mark.parametrize("configured", [None, "ag-1"])
async def test_an_agent_is_named_by_text(agent: Any, configured: str | None) -> None:
    answer = await ask(Layercode(), {"agent_id": agent}, agent_id=configured)
    assert (answer.status_code, answer.json()) == (400, {"error": "agent_id: should be a string"})


# --- what is refused here


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b'{"a":NaN}',
        b'{"a":"\xff"}',
        b'{"metadata":{"a":1e999}}',
        b'{"a":' + b"1" * 5000 + b"}",
        b'{"a":' * 9000,
        b'{"a":' + b"[" * 9000 + b"]" * 9000 + b"}",
    ],
)
async def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    layercode = Layercode()
    answer = await ask(layercode, body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}
    assert layercode.asked == []


async def test_64_kib_are_enough_and_one_byte_more_is_too_much() -> None:
    full = b'{"a":"' + b"x" * (MAX_BODY - 8) + b'"}'
    layercode = Layercode()
    assert (await ask(layercode, full)).status_code == 200
    answer = await ask(layercode, full + b" ")
    assert (answer.status_code, answer.json()) == (413, {"error": "The body is larger than 64 KiB."})
    assert len(layercode.asked) == 1


async def test_a_body_without_a_declared_length_is_not_read_to_its_end() -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        for read in range(1, 1000):  # noqa: B007
            yield b" " * 1024

    app = FastAPI()
    app.include_router(authorize_router(api_url="https://x", api_key=KEY, agent_id="a", http=pytest.fail))
    chunks = endless()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": await anext(chunks), "more_body": True}

    assert await status_of(app, receive) == 413
    assert read == 65


async def test_a_browser_that_goes_away_while_sending_is_no_error() -> None:
    app = FastAPI()
    app.include_router(authorize_router(api_url="https://x", api_key=KEY, agent_id="a", http=pytest.fail))

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    assert await status_of(app, receive) == 400


async def status_of(app: FastAPI, receive: Callable[[], Awaitable[dict[str, Any]]]) -> int:
    sent: list[dict[str, Any]] = []

    async def send(event: Any) -> None:
        sent.append(event)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/authorize",
        "query_string": b"",
        "headers": [],
    }
    await app(scope, receive, send)
    status: int = sent[0]["status"]
    return status


@pytest.mark.parametrize("key", [None, "", "  "])
async def test_without_a_key_the_server_says_so(key: str | None) -> None:
    answer = await ask(Layercode(), {}, api_key=key)
    assert answer.status_code == 503
    assert answer.json() == {"error": "This server has no Layercode API key, so it cannot authorize sessions."}


@pytest.mark.parametrize("key", ["s3cret\nX-Evil: 1", "s3crét"])
def test_a_key_that_no_header_can_carry_stops_the_start_without_being_shown(key: str) -> None:
    with pytest.raises(ValueError, match="API key") as caught:
        authorize_router(api_url="https://x", api_key=key, agent_id=None, http=pytest.fail)
    assert "s3cr" not in str(caught.value)


@settings(deadline=None)  # an application per example
@given(
    body=st.binary()
    | st.dictionaries(st.text(), st.integers() | st.text() | st.none()).map(lambda d: json.dumps(d).encode())
)
async def test_whatever_the_browser_sends_the_answer_is_json(body: bytes) -> None:
    answer = await ask(Layercode(), body)
    assert answer.status_code in (200, 400, 403)
    assert isinstance(answer.json(), dict)


# --- what Layercode refuses


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, "agent not found"),
        (402, "insufficient_balance"),
        (404, "ü"),
        (422, "x" * 200),
        (429, "slow down"),
    ],
)
async def test_layercodes_reason_is_passed_on_with_its_status(status: int, error: str) -> None:
    answer = await ask(Layercode(JSONResponse({"error": error, "trace": "…"}, status)), {})
    assert (answer.status_code, answer.json()) == (status, {"error": error})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"error":null}',
        b'{"error":""}',
        b'{"error":{"message":"x"}}',
        b'{"error":"two\\nlines"}',
        b'{"error":"\\ud800"}',
        json.dumps({"error": "x" * 201}).encode(),
        json.dumps({"error": f"Bearer {KEY} is invalid"}).encode(),
    ],
)
async def test_a_reason_that_is_not_short_harmless_text_becomes_a_general_one(content: bytes) -> None:
    answer = await ask(Layercode(Response(content, 400)), {})
    assert (answer.status_code, answer.json()) == (400, GENERIC)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_not_talked_about(status: int) -> None:
    answer = await ask(Layercode(JSONResponse({"error": "key revoked"}, status)), {})
    assert (answer.status_code, answer.json()) == (status, GENERIC)


# --- what fails between


@pytest.mark.parametrize(
    "answer",
    [
        JSONResponse({"error": "database on fire"}, 500),
        JSONResponse(GRANTED, 503),
        JSONResponse([GRANTED]),
        PlainTextResponse("OK"),
        Response(b"", 200),
        Response(b"", 204),
        Response(b'{"a":"\xff"}'),
        Response(b'{"a":NaN}'),
        Response(b"", 307, {"location": "https://layercode.test/v1/agents/web/authorize_session"}),
    ],
)
async def test_an_answer_that_is_no_grant_and_no_refusal_is_a_bad_gateway(answer: Response) -> None:
    layercode = Layercode(answer)
    refused = await ask(layercode, {})
    assert (refused.status_code, refused.json()) == (502, UNUSABLE)
    assert len(layercode.asked) == 1


async def test_a_compressed_answer_that_is_not_is_a_bad_gateway() -> None:
    refused = await ask(Layercode(Response(b"plain", headers={"content-encoding": "gzip"})), {})
    assert (refused.status_code, refused.json()) == (502, UNREACHABLE)


async def test_a_refused_connection_is_a_bad_gateway() -> None:
    with socket.socket() as unheard:  # bound, so that nobody else takes the port; not listening
        unheard.bind(("127.0.0.1", 0))
        async with browser(None, api_url=f"http://127.0.0.1:{unheard.getsockname()[1]}") as client:
            answer = await client.post("/api/authorize", json={})
    assert (answer.status_code, answer.json()) == (502, UNREACHABLE)


async def test_the_shared_clients_timeout_ends_in_a_bad_gateway() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts, nobody answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with browser(None, api_url=url, timeout=0.1) as client:
            answer = await client.post("/api/authorize", json={})
    assert (answer.status_code, answer.json()) == (502, UNREACHABLE)


@pytest.mark.parametrize("said", [b"", b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"])
async def test_a_connection_that_breaks_off_is_a_bad_gateway(said: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with browser(None, api_url=f"http://127.0.0.1:{port}") as client:
            answer = await client.post("/api/authorize", json={})
    assert (answer.status_code, answer.json()) == (502, UNREACHABLE)


# --- what nobody gets to see


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (JSONResponse(GRANTED), "authorize: Layercode answered 200"),
        (JSONResponse({"error": f"bad {KEY}"}, 400), "authorize: Layercode answered 400"),
        (JSONResponse({"error": f"bad {KEY}"}, 500), "authorize: Layercode answered 500"),
        (
            Response(KEY.encode(), headers={"content-encoding": "gzip"}),
            "authorize: no answer from Layercode (DecodingError)",
        ),
    ],
)
async def test_the_log_has_one_line_with_the_status_and_the_key_is_nowhere(
    answer: Response, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    response = await ask(Layercode(answer), {"metadata": {"name": "Ada"}})
    assert [r.getMessage() for r in caplog.records if r.name == "api.platforms.layercode.authorize"] == [line]
    for seen in (caplog.text, response.text, str(response.headers)):
        assert KEY not in seen
        assert "Ada" not in seen
    assert "lc_sesskey" not in caplog.text


async def test_the_key_is_not_in_the_debug_log_of_a_real_connection(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with browser(None, api_url=url, timeout=0.1) as client:
            await client.post("/api/authorize", json={})
    assert "send_request_headers" in caplog.text
    assert KEY not in caplog.text
