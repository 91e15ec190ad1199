"""cloudflared in a process of its own: a quick tunnel, which needs no account and has a new name each time."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from contextlib import suppress
from threading import Thread
from typing import IO

from api.settings import NotConfigured

_MISSING = (
    "cloudflared is not installed. macOS: `brew install cloudflared`. Linux: the package, or the program,"
    " from https://github.com/cloudflare/cloudflared/releases. Then start again."
)
# An error names api.trycloudflare.com, which is no tunnel.
_URL = re.compile(r"https://(?!api\.)[a-z0-9-]+\.trycloudflare\.com\b")
_LOG_LINE = re.compile(r"^\S+Z (?:INF|WRN|ERR|FTL) ")

# Its standard input ends when we do, however that happens; the process group then ends with it.
_GUARDED = 'exec 3<&0; (read -r _ <&3; kill 0) >/dev/null 2>&1 & exec "$0" "$@"'
_GRACE = 3.0  # seconds; its own would be up to 30


class Cloudflared:
    """url: the tunnel's, once it is known. complaint: its last error."""

    def __init__(self, command: str, origin: str) -> None:
        self.url: str | None = None
        self.complaint = ""
        # Without --config, a file in the home folder would send the requests elsewhere, and they are answered 404.
        options = ["tunnel", "--config", "/dev/null", "--no-autoupdate", "--url", origin]
        self._process = subprocess.Popen(  # noqa: S603 - the command is cloudflared, by its full path
            ["/bin/sh", "-c", _GUARDED, command, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C is ours: calls are drained through the tunnel
        )
        self._reader = Thread(target=self._read, args=[self._process.stderr], name="cloudflared", daemon=True)
        self._reader.start()

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def how_it_ended(self) -> str:
        self._reader.join(1)
        said = f": {self.complaint}" if self.complaint else ""
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
        self._reader.join(1)

    def _signal(self, number: int) -> None:
        """To the group: its id cannot be another's while the guard lives, and the guard outlives cloudflared."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _read(self, log: IO[str]) -> None:
        """To the end: with the pipe full, it would stand still."""
        with log:
            for line in log:
                if self.url is None and (found := _URL.search(line)):
                    self.url = found[0]
                elif " ERR " in line or not _LOG_LINE.match(line):
                    self.complaint = _LOG_LINE.sub("", line).strip()[:300]


def find_cloudflared() -> str:
    """Its path. NotConfigured, with how to get it, when it is not installed."""
    command = shutil.which("cloudflared")
    if command is None:
        raise NotConfigured(_MISSING)
    return command
