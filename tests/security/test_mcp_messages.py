"""What an MCP server sends is bounded, whatever it sends: it is read in the event loop, beside everybody's calls."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from agent.tooling.mcp import _connection
from agent.tooling.mcp_config import ServerConfig
from agent.tooling.mcp_http import MAX_MESSAGE, TooLarge, bounded_client

EVENTS = "text/event-stream"
TOO_MUCH = b"x" * (MAX_MESSAGE + 1)


@contextmanager
def answering(
    body: bytes, kind: str = "application/json", status: int = 200, headers: Mapping[str, str] = {}
) -> Iterator[str]:
    """A server that answers so, whatever it is asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": kind, **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/mcp"
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    ("body", "kind", "headers"),
    [
        (TOO_MUCH, "application/json", {}),
        (b"data: " + TOO_MUCH, EVENTS, {}),
        (b"data: a\n\ndata: " + TOO_MUCH + b"\n\n", EVENTS, {}),
        (gzip.compress(TOO_MUCH), "application/json", {"Content-Encoding": "gzip"}),
    ],
    ids=["an answer", "an event", "a later event", "a compressed answer"],
)
async def test_a_message_that_is_too_large_ends_the_request(body: bytes, kind: str, headers: dict[str, str]) -> None:
    with answering(body, kind, headers=headers) as url:
        async with bounded_client() as client:
            with pytest.raises(TooLarge):
                await client.get(url)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
async def test_there_may_be_any_number_of_events(end: bytes) -> None:
    event = b"data: " + b"x" * 999 + end
    with answering(event * 3000, EVENTS) as url:
        async with bounded_client() as client:
            assert len((await client.get(url)).content) == 3000 * len(event)


async def test_a_redirect_is_not_followed() -> None:
    with answering(b"secret") as inside, answering(b"", status=307, headers={"Location": inside}) as url:
        async with bounded_client({"Authorization": "Bearer key"}) as client:
            answer = await client.get(url)
    assert (answer.status_code, answer.content) == (307, b"")


@pytest.mark.parametrize("type_", ["http", "sse"])
def test_every_server_that_is_asked_over_http_is_bounded(type_: str) -> None:
    connection = _connection(ServerConfig.model_validate({"url": "https://flights.example/mcp", "type": type_}))
    assert connection["httpx_client_factory"] is bounded_client
