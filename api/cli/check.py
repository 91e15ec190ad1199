"""`voice dev --check`: what is missing for real calls, a line for each thing. No secret is printed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime

import httpx

from agent.tls import tls_context
from api.cli.exposure import exposures
from api.cli.model_check import Finding, ask_models
from api.cli.printing import echo
from api.platforms.registry import configured_platforms
from api.settings import NotConfigured, Settings
from api.wiring import check_database, load_parts, tool_folder

_GOOGLE = "https://generativelanguage.googleapis.com"
_MOST_SKEW = 240  # seconds; the signature tolerates 300, and a webhook takes its time
_PATIENCE = httpx.Timeout(8, connect=4)  # seconds


def check(settings: Settings) -> int:
    """Print each finding as soon as it and those before it are known, and what strangers may see more of than they
    should. The exit status: 0 when there is no problem; a warning is none."""
    problems = 0
    for found in _findings(settings):
        problems += not found.ok
        echo("ok     " if found.ok else "problem", fg="green" if found.ok else "red", nl=False)
        echo(f"  {found.subject}: {found.text}")
    for subject, text in exposures(settings):
        echo("warning", fg="yellow", nl=False)
        echo(f"  {subject}: {text}")
    echo(f"Problems: {problems}." if problems else "Ready for calls.")
    return 1 if problems else 0


def _findings(settings: Settings) -> Iterator[Finding]:
    """The last two ask other servers, at the same time."""
    for look in (_platforms, _layercode_key, _tools, _database):
        yield from look(settings)
    with ThreadPoolExecutor() as pool:
        asked = (
            pool.submit(lambda: list(ask_models(settings))),
            pool.submit(lambda: list(_clock(settings))),
        )
        for findings in asked:
            yield from findings.result()


def _platforms(settings: Settings) -> Iterator[Finding]:
    try:
        platforms = configured_platforms(settings)
    except NotConfigured as error:
        yield Finding("platforms", ok=False, text=str(error))
    else:
        yield Finding("platforms", ok=True, text=", ".join(platform.name for platform in platforms))


def _tools(settings: Settings) -> Iterator[Finding]:
    """With the prompt, and without the model, which has a line of its own."""
    without_model = settings.model_copy(update={"model": "demo", "model_fallback": None})
    try:
        parts = load_parts(without_model, folder=tool_folder(settings, gemini=True))
    except NotConfigured as error:
        yield from (Finding("tools and prompt", ok=False, text=problem) for problem in error.problems)
    else:
        yield Finding("tools and prompt", ok=True, text=f"{len(parts.folder.tools)} tools from {settings.tools_dir}/")


def _database(settings: Settings) -> Iterator[Finding]:
    try:
        asyncio.run(check_database(settings))
    except NotConfigured as error:
        yield Finding("database", ok=False, text=str(error))
    else:
        yield Finding("database", ok=True, text="opens")


def _layercode_key(settings: Settings) -> Iterator[Finding]:
    """Whether there is a key that can be sent. Layercode is not asked whether it is the right one."""
    if not settings.layercode_webhook_secret:
        return
    key = settings.layercode_api_key.get_secret_value().strip() if settings.layercode_api_key else ""
    if not key:
        text = "LAYERCODE_API_KEY is not set, so /api/authorize refuses: copy it from the Layercode dashboard."
        yield Finding("Layercode key", ok=False, text=text)
    elif not (key.isascii() and key.isprintable()):
        text = "LAYERCODE_API_KEY holds a character that no key has: copy it again."
        yield Finding("Layercode key", ok=False, text=text)
    else:
        yield Finding("Layercode key", ok=True, text="set")


def _clock(settings: Settings) -> Iterator[Finding]:
    for url in (settings.layercode_api_url, settings.google_gemini_base_url or _GOOGLE):
        try:
            theirs = parsedate_to_datetime(
                httpx.head(url, timeout=_PATIENCE, verify=tls_context()).headers["date"]
            ).timestamp()
        except (httpx.HTTPError, httpx.InvalidURL, KeyError, ValueError):
            continue
        skew = time.time() - theirs
        text = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} {httpx.URL(url).host}'s"
        yield Finding("clock", ok=abs(skew) <= _MOST_SKEW, text=text if abs(skew) <= _MOST_SKEW else _set_it(text))
        return
    yield Finding("clock", ok=False, text="nobody answers to compare it with: is the network there?")


def _set_it(text: str) -> str:
    return f"{text}. Webhooks are refused when it is 300 s off: let the system set it (NTP)."
