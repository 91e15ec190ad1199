"""cloudflared in a process of its own: a quick tunnel, which needs no account and has a new name each time."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from tempfile import TemporaryFile

import httpx

from agent.tls import tls_context
from api.settings import NotConfigured

_MISSING = (
    "cloudflared is not installed. macOS: `brew install cloudflared`. Linux: the package, or the program,"
    " from https://github.com/cloudflare/cloudflared/releases. Then start again."
)
_LOG_LINE = re.compile(r"^\S+Z (?:INF|WRN|ERR|FTL) ")
_LONGEST = 10_000  # bytes of its log's end that are looked at

# Its standard input ends when we do, however that happens; the process group then ends with it.
_GUARDED = 'exec 3<&0; (read -r _ <&3; kill 0) >/dev/null 2>&1 & exec "$0" "$@"'
_GRACE = 3.0  # seconds; its own would be up to 30


class Cloudflared:
    """One run of it, which leads to the server at `origin`. Its log has errors only."""

    def __init__(self, command: str, origin: str) -> None:
        self._log = TemporaryFile()  # noqa: SIM115 - close() closes it
        self._url: str | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            metrics = f"127.0.0.1:{free.getsockname()[1]}"
        self._says_url = f"http://{metrics}/quicktunnel"
        # Without --config, a file in the home folder would send the requests elsewhere, and they are answered 404.
        options = ["--config", "/dev/null", "--no-autoupdate", "--loglevel", "error", "--metrics", metrics]
        self._process = subprocess.Popen(  # noqa: S603 - the command is cloudflared, by its full path
            ["/bin/sh", "-c", _GUARDED, command, "tunnel", *options, "--url", origin],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            start_new_session=True,  # Ctrl-C is ours: calls are drained through the tunnel
        )

    @property
    def url(self) -> str | None:
        """The tunnel's, once it has one."""
        if self._url is None:
            with suppress(httpx.HTTPError, ValueError):
                answer = httpx.get(self._says_url, timeout=1, trust_env=False, verify=tls_context())
                if hostname := answer.json().get("hostname"):
                    self._url = f"https://{hostname}"
        return self._url

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def how_it_ended(self) -> str:
        log = os.pread(self._log.fileno(), _LONGEST, max(0, os.fstat(self._log.fileno()).st_size - _LONGEST))
        last = log.decode(errors="replace").rstrip().rpartition("\n")[2]
        said = f": {_LOG_LINE.sub('', last)[:300]}" if last else ""
        return f"cloudflared ended with status {self._process.poll()}{said}"

    def close(self) -> None:
        """Stop it, if it runs, and what guards it."""
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        self._log.close()

    def _signal(self, number: int) -> None:
        """To the group: its id cannot be another's while the guard lives, and the guard outlives cloudflared."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def find_cloudflared() -> str:
    """Its path. NotConfigured, with how to get it, when it is not installed."""
    command = shutil.which("cloudflared")
    if command is None:
        raise NotConfigured(_MISSING)
    return command
