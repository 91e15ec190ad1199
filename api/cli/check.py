"""`voice dev --check`: what is missing for real calls, a line for each thing. No secret is printed."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime

import httpx
import typer

from agent.tls import tls_context
from api.cli.model_check import Finding, ask_models
from api.cli.probe import probe
from api.platforms.layercode.rest import Layercode, LayercodeError, layercode
from api.platforms.layercode.webhook_url import borrowed
from api.settings import NotConfigured, Settings

_GOOGLE = "https://generativelanguage.googleapis.com"
_MOST_SKEW = 240  # seconds; the signature tolerates 300, and a webhook takes its time
_PATIENCE = httpx.Timeout(8, connect=4)  # seconds

Reach = Callable[[str, str], str | None]


def check(settings: Settings, reach: Reach = probe) -> int:
    """Print each finding as soon as it and those before it are known. The exit status: 0 when all is well.

    reach: why the webhook at a URL does not take what this secret signs, or None.
    """
    problems = 0
    for found in _findings(settings, reach):
        problems += not found.ok
        label = typer.style("ok     ", fg="green") if found.ok else typer.style("problem", fg="red")
        typer.echo(f"{label}  {found.subject}: {found.text}")
    typer.echo(f"Problems: {problems}." if problems else "Ready for calls.")
    return 1 if problems else 0


def _findings(settings: Settings, reach: Reach) -> Iterator[Finding]:
    """Those that ask somebody else wait at the same time."""
    for look in (_secret, _tools, _database):
        yield from look(settings)
    with ThreadPoolExecutor() as pool:
        asked = (
            pool.submit(lambda: list(_calls(settings, reach))),
            pool.submit(lambda: list(ask_models(settings))),
            pool.submit(lambda: list(_clock(settings))),
        )
        for findings in asked:
            yield from findings.result()


def _secret(settings: Settings) -> Iterator[Finding]:
    try:
        _ = settings.webhook_secret
    except NotConfigured as error:
        yield Finding("webhook secret", ok=False, text=str(error))
    else:
        yield Finding("webhook secret", ok=True, text="set")


def _tools(settings: Settings) -> Iterator[Finding]:
    """With the prompt, and without the model, which has a line of its own."""
    from api.wiring import load_parts

    try:
        parts = load_parts(settings.model_copy(update={"model": "demo", "model_fallback": None}))
    except NotConfigured as error:
        yield from (Finding("tools and prompt", ok=False, text=problem) for problem in error.problems)
    else:
        yield Finding("tools and prompt", ok=True, text=f"{len(parts.folder.tools)} tools from {settings.tools_dir}/")


def _database(settings: Settings) -> Iterator[Finding]:
    from api.wiring import check_database

    try:
        asyncio.run(check_database(settings))
    except NotConfigured as error:
        yield Finding("database", ok=False, text=str(error))
    else:
        yield Finding("database", ok=True, text="opens")


def _calls(settings: Settings, reach: Reach) -> Iterator[Finding]:
    client = layercode(settings)
    if client is None:
        text = "LAYERCODE_API_KEY is not set, so the agent cannot be looked at: copy it from the Layercode dashboard."
        yield Finding("Layercode key", ok=False, text=text)
        return
    with client:
        try:
            agents = client.agents()
            yield Finding("Layercode key", ok=True, text="accepted")
        except LayercodeError as error:
            yield Finding("Layercode key", ok=False, text=f"{error}.")
            return
        yield from _agent(settings, client, agents, reach)


def _agent(settings: Settings, client: Layercode, agents: dict[str, str], reach: Reach) -> Iterator[Finding]:
    if not settings.layercode_agent_id:
        known = ", ".join(f"{id_} ({name})" if name else id_ for id_, name in list(agents.items())[:5])
        text = f"LAYERCODE_AGENT_ID is not set. The account has: {known or 'no agent yet'}."
        yield Finding("agent", ok=False, text=text)
        return
    try:
        url = client.webhook_url(settings.layercode_agent_id)
    except LayercodeError as error:
        yield Finding("agent", ok=False, text=f"{error}.")
        return
    if url is None:
        yield Finding("agent", ok=False, text="it has no webhook URL: `voice dev --tunnel` gives it one.")
        return
    here = any(url in entry.ours for entry in borrowed())
    whose = "a tunnel of this folder" if here else "no tunnel of this folder"
    yield Finding("agent", ok=True, text=f"its webhooks go to {url} ({whose})")
    yield _reachable(settings, url, reach)


def _reachable(settings: Settings, url: str, reach: Reach) -> Finding:
    subject = "webhook URL"
    try:
        secret = settings.webhook_secret
    except NotConfigured:
        return Finding(subject, ok=False, text="it cannot be tried without the webhook secret.")
    if _only_from_here(url):
        return Finding(subject, ok=False, text="Layercode cannot reach a local address: `voice dev --tunnel` helps.")
    if not url.startswith("https://"):
        return Finding(subject, ok=False, text="Layercode wants an https:// URL.")
    reason = reach(url, secret)
    return Finding(subject, ok=not reason, text=f"{reason}." if reason else "it answers, with our secret")


def _only_from_here(url: str) -> bool:
    try:
        host = httpx.URL(url).host
    except httpx.InvalidURL:
        return False
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith(".local")


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
