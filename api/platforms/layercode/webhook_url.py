"""An agent's webhook URL in Layercode, which is ours while a tunnel runs, and then what it was.

What it was is written to a file before it is changed, so that the next start can put it back after a crash. Changed by
somebody else meanwhile, it is left alone. The file holds one entry for each agent, and no secret.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from api.platforms.layercode.rest import Layercode, LayercodeError

FILE = Path(".voice-tunnel.json")
_QUICK = re.compile(r"https://[a-z0-9-]+\.trycloudflare\.com(/|$)", re.IGNORECASE)

Say = Callable[[str], object]


@dataclass
class Borrowed:
    """original: the URL to put back; None when there was none. ours: each URL it may have been given by us."""

    api: str
    agent: str
    original: str | None
    ours: list[str] = field(default_factory=list)


class WebhookUrl:
    """`say` is told, in sentences, what became of it."""

    def __init__(self, layercode: Layercode, agent: str, say: Say, file: Path = FILE) -> None:
        self._layercode = layercode
        self._agent = agent
        self._say = say
        self._file = file
        self._lost = False  # to somebody who changed it while we ran

    def point_to(self, url: str) -> None:
        """LayercodeError when it cannot be set."""
        if self._lost:
            return
        current = self._layercode.webhook_url(self._agent)
        known = self._known()
        if known and current not in (known.original, *known.ours):
            self._lost = True
            self._say(_changed(known, current))
            self._forget()
            return
        known = known or self._taken(current)
        known.ours.append(url)
        self._remember(known)
        self._layercode.set_webhook_url(self._agent, url)
        self._say(f"The agent's webhook URL is now {url}. Before, it was {known.original or current or 'none'}.")

    def _taken(self, current: str | None) -> Borrowed:
        """Another quick tunnel's URL is not worth putting back: it is closed by then, or never opens again."""
        if current is None or not _QUICK.match(current):
            return Borrowed(self._layercode.url, self._agent, current)
        self._say(
            f"The agent's webhook URL is {current}, which another tunnel has set and not put back. It will not be put"
            " back here either: when you are done, set the right one in the Layercode dashboard."
        )
        return Borrowed(self._layercode.url, self._agent, None, [current])

    def give_back(self) -> None:
        """Put back what was there, if anything is remembered and it is still ours. What fails stays remembered."""
        known = self._known()
        if known is None:
            return
        try:
            self._say(self._returned(known))
        except LayercodeError as error:
            self._say(
                f"The agent's webhook URL could not be put back to {known.original or 'none'}: {error}. The next"
                " `voice dev` here tries again."
            )
        else:
            self._forget()

    def _returned(self, known: Borrowed) -> str:
        current, before = self._layercode.webhook_url(self._agent), known.original
        if current == before:
            return f"The agent's webhook URL is {before or 'none'}, as before."
        if current not in known.ours:
            return _changed(known, current)
        if before is None:
            return (
                f"The agent had no webhook URL before that could be put back. It still is {current}, which is closed"
                " now: set another in the Layercode dashboard."
            )
        self._layercode.set_webhook_url(self._agent, before)
        return f"The agent's webhook URL is {before} again."

    def _known(self) -> Borrowed | None:
        return next((entry for entry in borrowed(self._file) if self._is_this(entry)), None)

    def _is_this(self, entry: Borrowed) -> bool:
        return (entry.api, entry.agent) == (self._layercode.url, self._agent)

    def _forget(self) -> None:
        _write(self._file, [entry for entry in borrowed(self._file) if not self._is_this(entry)])

    def _remember(self, known: Borrowed) -> None:
        _write(self._file, [*(entry for entry in borrowed(self._file) if not self._is_this(entry)), known])


def _changed(known: Borrowed, current: str | None) -> str:
    return (
        f"The agent's webhook URL was changed meanwhile, to {current or 'none'}, and is left so."
        f" Before the tunnel it was {known.original or 'none'}."
    )


def borrowed(file: Path = FILE) -> list[Borrowed]:
    """What is remembered. Nothing, when the file is missing or makes no sense."""
    try:
        return [Borrowed(**entry) for entry in json.loads(file.read_text())]
    except (OSError, ValueError, TypeError):
        return []


def give_back_leftovers(layercode: Layercode, say: Say, file: Path = FILE) -> None:
    """Of runs that were killed: put back each of this account's URLs."""
    for entry in borrowed(file):
        if entry.api == layercode.url:
            WebhookUrl(layercode, entry.agent, say, file).give_back()


def _write(file: Path, entries: list[Borrowed]) -> None:
    """In one step: whoever is killed in the middle leaves the old file or the new one."""
    if not entries:
        file.unlink(missing_ok=True)
        return
    draft = file.with_suffix(".tmp")
    with draft.open("w") as out:
        json.dump([asdict(entry) for entry in entries], out, indent=1)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(file)
