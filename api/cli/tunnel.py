"""`voice dev --tunnel`: a public URL for the server here, to be pasted into the Layercode dashboard.

cloudflared is started, its URL is waited for until it answers, and printed. When cloudflared ends by itself it is
started again, with a new URL, a few times.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from api.cli.cloudflared import Cloudflared, find_cloudflared
from api.cli.printing import echo
from api.cli.probe import probe
from api.settings import Settings

Say = Callable[[str], object]

WEBHOOK = "/api/agent"

_TRIES = 5  # in a row
_PAUSE = 2.0  # seconds before the second try, twice that before the third, …
_STEADY = 60.0  # seconds; a tunnel that lived longer counts as one that works
_NAMED = 30.0  # seconds until it must have said its URL
_SETTLES = 3.0  # seconds before it is asked for: a resolver may remember for long that a new name is unknown
_ANSWERS = 60.0  # seconds until the URL must answer: a new name needs some in DNS
_TOLD = 5.0  # seconds between signs of life


class Tunnel:
    """answers: why a webhook URL does not lead here, or None. say: prints a line."""

    def __init__(self, command: str, origin: str, answers: Callable[[str], str | None], say: Say) -> None:
        self._command = command
        self._origin = origin
        self._answers = answers
        self._say = say
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tunnel")

    def open(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        tries = 0
        while tries < _TRIES and not self._stop.wait(_PAUSE * tries):
            began = time.monotonic()
            reason = self._hold()
            if not self._stop.is_set():
                self._say(f"Tunnel: {reason}.")
                tries = 1 if time.monotonic() - began > _STEADY else tries + 1
        if tries == _TRIES:
            self._say("Tunnel: given up. The server goes on without it; stop and start it to try again.")

    def _hold(self) -> str:
        """One cloudflared until it ends or we stop: why it is over."""
        self._say("Tunnel: starting cloudflared …")
        cloudflared = Cloudflared(self._command, self._origin)
        try:
            if not self._wait(lambda: cloudflared.ended or bool(cloudflared.url), _NAMED):
                return f"cloudflared names no URL after {_NAMED:.0f} s"
            if cloudflared.url and not cloudflared.ended:
                if reason := self._unanswered(cloudflared, cloudflared.url + WEBHOOK):
                    return reason
                self._announce(cloudflared.url + WEBHOOK)
                self._wait(lambda: cloudflared.ended)
            return cloudflared.how_it_ended
        finally:
            cloudflared.close()

    def _unanswered(self, cloudflared: Cloudflared, url: str) -> str | None:
        """Wait until it answers, and say so now and then; else why it does not."""
        self._say(f"Tunnel: waiting until {url} answers …")
        self._stop.wait(_SETTLES)
        began = told = time.monotonic()
        while not (cloudflared.ended or self._stop.is_set()):
            reason = self._answers(url)
            now = time.monotonic()
            if reason is None:
                return None
            if now - began > _ANSWERS:
                return f"{url} does not answer after {_ANSWERS:.0f} s: {reason}"
            if now - told > _TOLD:
                self._say(f"Tunnel: not yet, after {now - began:.0f} s …")
                told = now
            self._stop.wait(1)
        return cloudflared.how_it_ended

    def _announce(self, url: str) -> None:
        self._say(f"Tunnel: {url} leads here.")
        self._say(f"Paste it into the Layercode dashboard, as your agent's webhook URL: {url}")

    def _wait(self, come: Callable[[], bool], seconds: float = float("inf")) -> bool:
        """Until it has come, or we stop; False when it takes too long."""
        until = time.monotonic() + seconds
        while not (come() or self._stop.wait(0.1)):
            if time.monotonic() > until:
                return False
        return True


@contextmanager
def tunnel(
    settings: Settings,
    origin: str,
    *,
    answers: Callable[[str], str | None] | None = None,
    say: Say = echo,
) -> Iterator[None]:
    """A tunnel to the server at `origin` (http://host:port) while the block runs; it comes up meanwhile.

    Raises NotConfigured when cloudflared is missing.
    """
    opened = Tunnel(find_cloudflared(), origin, answers or (lambda url: probe(url, settings.webhook_secret)), say)
    opened.open()
    try:
        yield
    finally:
        opened.close()
