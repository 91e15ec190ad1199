"""Layercode's `authorize_session` on a local port, and a `cloudflared` that opens nothing."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
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


FAILED = """\
failed to request quick Tunnel: Post "https://api.trycloudflare.com/tunnel": dial tcp: lookup api.trycloudflare.com: no such host
"""  # noqa: E501 - as it comes


_PROGRAM = """\
import http.server, json, sys, threading

class Metrics(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        names = {"hostname": "four-dashed-words-NUMBER.trycloudflare.com"} if self.path == "/quicktunnel" else {}
        self.send_response(200 if names else 404)
        self.end_headers()
        self.wfile.write(json.dumps(names).encode())

    def log_message(self, *_):
        pass

host, _, port = sys.argv[sys.argv.index("--metrics") + 1].partition(":")
http.server.HTTPServer((host, int(port)), Metrics).serve_forever()
"""


class FakeCloudflared:
    """A program of that name, with the real one's `/quicktunnel`. Each start has the next number in its URL.

    log: what it prints at once. fails: it ends then."""

    def __init__(self, folder: Path, *, log: str = "", fails: bool = False) -> None:
        self._starts = folder / "starts"
        folder.mkdir()
        (folder / "log").write_text(log)
        for number in range(1, 10):
            (folder / f"metrics{number}.py").write_text(_PROGRAM.replace("NUMBER", str(number)))
        self.path = folder / "cloudflared"
        self.path.write_text(
            f'#!/bin/sh\ncd {shlex.quote(str(folder))}\necho "$$ $*" >> starts\nn=$(($(wc -l < starts)))\n'
            f"cat log >&2\n" + ("" if fails else f'exec {sys.executable} metrics$n.py "$@"\n')
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
