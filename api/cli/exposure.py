"""What an operator can get wrong so that strangers see or do more than they should."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from api.operations import is_local
from api.settings import Settings

_OTHERS = 0o077  # in a file's mode


def exposures(settings: Settings) -> Iterator[tuple[str, str]]:
    """A subject, and a sentence that says what to do."""
    yield from _without_tls(settings)
    yield from _forwarded(settings)
    yield from _readable(Path(".env"), "secrets")
    if settings.database_url.startswith("sqlite:///"):
        yield from _readable(Path(settings.database_url.removeprefix("sqlite:///")), "transcripts")


def _without_tls(settings: Settings) -> Iterator[tuple[str, str]]:
    scheme, _, host = (settings.public_url or "").partition("://")
    if scheme == "http" and not is_local(host.rstrip("/")):
        yield "TLS", "PUBLIC_URL begins with http: put a proxy with TLS before this server, and write https."


def _forwarded(settings: Settings) -> Iterator[tuple[str, str]]:
    if "*" in settings.forwarded_allow_ips:
        yield (
            "forwarded addresses",
            "FORWARDED_ALLOW_IPS=* believes everybody: name the proxies in front of this server.",
        )
    elif (
        not settings.forwarded_allow_ips
        and settings.public_url
        and not is_local(settings.public_url.partition("://")[2].rstrip("/"))
    ):
        text = "FORWARDED_ALLOW_IPS is empty: behind a proxy all pages count as one address for AUTHORIZE_PER_MINUTE."
        yield "forwarded addresses", text


def _readable(path: Path, what: str) -> Iterator[tuple[str, str]]:
    if path.is_file() and path.stat().st_mode & _OTHERS:
        yield path.name, f"other users of this machine can read it, and it has {what}: chmod 600 {path}"
