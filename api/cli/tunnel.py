"""`voice dev --tunnel`: a public URL for the server here, and the agent's webhooks sent to it.

Start: what a killed run left is put back; cloudflared; its URL answers; the agent's webhook URL is set. When
cloudflared dies, again from there, a few times. Stop: cloudflared is stopped, and the webhook URL put back.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import typer

from api.cli.cloudflared import Cloudflared, find_cloudflared
from api.cli.probe import probe
from api.platforms.layercode.rest import LayercodeError, layercode
from api.platforms.layercode.webhook_url import Say, WebhookUrl, borrowed, give_back_leftovers
from api.settings import NotConfigured, Settings

WEBHOOK = "/api/agent"

_TRIES = 5  # in a row
_PAUSE = 2.0  # seconds before the second try, twice that before the third, …
_STEADY = 60.0  # seconds; a tunnel that lived longer counts as one that works
_NAMED = 30.0  # seconds until it must have said its URL
_SETTLES = 3.0  # seconds before it is asked for: a resolver may remember for long that a new name is unknown
_ANSWERS = 60.0  # seconds until the URL must answer: a new name needs some in DNS
_TOLD = 5.0  # seconds between signs of life
_ADVICE = (
    " With LAYERCODE_API_KEY, LAYERCODE_AGENT_ID and LAYERCODE_WEBHOOK_SECRET in .env it is set for you, and put back."
)


class Tunnel:
    """answers: why a webhook URL does not lead here, or None. webhook: the agent's, if it is known."""

    def __init__(
        self, command: str, origin: str, answers: Callable[[str], str | None], webhook: WebhookUrl | None, say: Say
    ) -> None:
        self._command = command
        self._origin = origin
        self._answers = answers
        self._webhook = webhook
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
        if self._webhook:
            self._webhook.give_back()

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
        try:
            if self._webhook:
                self._webhook.point_to(url)
                return
        except (LayercodeError, OSError) as error:  # OSError: what it was cannot be written down
            self._say(f"The agent's webhook URL could not be set: {error}.")
        self._say(f"Set it yourself: {url} as your agent's webhook URL in the Layercode dashboard.{_ADVICE}")

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
    passing_secret: bool = False,
    answers: Callable[[str], str | None] | None = None,
    say: Say = typer.echo,
) -> Iterator[None]:
    """A tunnel to the server at `origin` (http://host:port) while the block runs; it comes up meanwhile.

    The agent's webhooks are sent to it if key, id and secret are Layercode's; a `passing_secret` is this run's own, and
    would refuse every call. NotConfigured when cloudflared is
    missing, or a tunnel runs in this folder already.
    """
    command = find_cloudflared()
    with ExitStack() as stack:
        if not stack.enter_context(_alone()):
            raise NotConfigured("Another `voice dev --tunnel` runs in this folder: stop it, or use another folder.")
        webhook = None
        if client := layercode(settings):
            stack.enter_context(client)
            give_back_leftovers(client, say)
            if settings.layercode_agent_id and not passing_secret:
                webhook = WebhookUrl(client, settings.layercode_agent_id, say)
        opened = Tunnel(command, origin, answers or (lambda url: probe(url, settings.webhook_secret)), webhook, say)
        stack.callback(opened.close)
        opened.open()
        yield


def give_back_after_crash(settings: Settings, say: Say = typer.echo) -> None:
    """At a start without a tunnel: put back what a killed run left, unless one runs here now."""
    if not borrowed():
        return
    with _alone() as alone:
        client = layercode(settings) if alone else None
        if client:
            with client:
                give_back_leftovers(client, say)


@contextmanager
def _alone() -> Iterator[bool]:
    """Whether no other process has a tunnel in this folder. The lock ends with us, however that happens."""
    folder = os.open(".", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(folder)
