"""Layercode's `authorize_session` on a local port, and a `cloudflared` that opens nothing."""

from __future__ import annotations

import json
import os
import shlex
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KEY = "lc_key_0123456789"


@dataclass
class Account:
    """fail: a status for every answer. skew: seconds its clock is off."""

    url: str
    fail: int | None = None
    skew: float = 0.0

    def answer(self, path: str, key: str | None) -> tuple[int, Any]:
        if self.fail or key != f"Bearer {KEY}":
            return self.fail or 401, {"error": "no"}
        if path == "/v1/agents/web/authorize_session":
            return 200, {"client_session_key": "lc_sesskey_1", "conversation_id": "lc_conv_1", "config": {}}
        return 404, {"error": "Not found"}


@contextmanager
def account() -> Iterator[Account]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = state.answer(self.path, self.headers.get("Authorization"))
            self.send_response(status)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(json.dumps(answer).encode())

        do_POST = do_HEAD = do_GET

        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate(time.time() + state.skew, usegmt=True)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = Account(f"http://127.0.0.1:{server.server_address[1]}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
        assert not thread.is_alive()


_LOG = """\
2026-11-22T08:00:00Z INF Thank you for trying Cloudflare Tunnel. These account-less Tunnels have no uptime guarantee.
2026-11-22T08:00:00Z INF Requesting new quick Tunnel on trycloudflare.com...
2026-11-22T08:00:02Z INF +--------------------------------------------------------------------------------------------+
2026-11-22T08:00:02Z INF |  Your quick Tunnel has been created! Visit it at (it may take some time to be reachable):  |
2026-11-22T08:00:02Z INF |  https://four-dashed-words-NUMBER.trycloudflare.com                                        |
2026-11-22T08:00:02Z INF +--------------------------------------------------------------------------------------------+
2026-11-22T08:00:02Z INF Version 2026.11.0
"""
FAILED = """\
2026-11-22T08:00:00Z INF Requesting new quick Tunnel on trycloudflare.com...
failed to request quick Tunnel: Post "https://api.trycloudflare.com/tunnel": dial tcp: lookup api.trycloudflare.com: no such host
"""  # noqa: E501 - as it comes


class FakeCloudflared:
    """A program of that name, with the log of the real one. Each start has the next number in its URL."""

    def __init__(self, folder: Path, *, seconds: int = 300, log: str = _LOG) -> None:
        self._starts = folder / "starts"
        folder.mkdir()
        for number in range(1, 10):
            (folder / f"log{number}").write_text(log.replace("NUMBER", str(number)))
        self.path = folder / "cloudflared"
        self.path.write_text(
            f'#!/bin/sh\ncd {shlex.quote(str(folder))}\necho "$$ $*" >> starts\nn=$(($(wc -l < starts)))\n'
            f"cat log$n >&2\nexec sleep {seconds}\n"
        )
        self.path.chmod(0o755)

    @staticmethod
    def webhook(number: int = 1) -> str:
        return f"https://four-dashed-words-{number}.trycloudflare.com/api/agent"

    @property
    def starts(self) -> list[str]:
        """The arguments of each start."""
        return [line.partition(" ")[2] for line in self._lines()]

    def end(self) -> None:
        """As if it had died."""
        os.kill(int(self._lines()[-1].split()[0]), signal.SIGKILL)

    def all_ended(self, within: float = 5.0) -> bool:
        until = time.monotonic() + within
        while any(_runs(int(line.split()[0])) for line in self._lines()):
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True

    def _lines(self) -> list[str]:
        return self._starts.read_text().splitlines() if self._starts.exists() else []


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
