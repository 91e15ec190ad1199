"""`voice dev`: the server, with the playground in front of it, and what to do next."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
from fastapi import FastAPI
from pydantic import SecretStr

from api.app import create_app
from api.cli.printing import echo
from api.cli.tunnel import tunnel
from api.operations import is_loopback, server
from api.playground import add_playground, without_password
from api.settings import NotConfigured, Settings, new_secret
from api.wiring import AgentParts, check_database, load_parts

WEBHOOK = "/api/agent"
_ALL = {"0.0.0.0", "::"}  # noqa: S104 - only to be recognised


@dataclass(frozen=True)
class Options:
    """webhook: another backend's URL, in whatever language; none for this one's. tunnel: calls come in by a
    public URL, and `/api/authorize` asks Layercode itself. hosts: to which the playground answers, beside localhost."""

    host: str
    port: int
    webhook: str | None = None
    tunnel: bool = False
    hosts: tuple[str, ...] = ()


def dev(settings: Settings, options: Options) -> None:
    """Serve until a signal. NotConfigured when something prevents it."""
    _check_url(options.webhook)
    if options.tunnel and options.webhook:
        raise NotConfigured("--tunnel leads to this backend, --webhook to another: leave one of them out.")
    secret_is_new = not settings.layercode_webhook_secret
    if secret_is_new:
        settings = settings.model_copy(update={"layercode_webhook_secret": new_secret()})
    parts = load_parts(settings, reload_tools=True)
    asyncio.run(check_database(settings, to_serve=True))
    with server.listen(options.host, options.port) as listener, ExitStack() as stack:
        base = _base_url(listener)
        hosts = _named(options, listener)
        application = development_app(settings, parts, base, options.webhook, tunnel=options.tunnel, hosts=hosts)
        echo(f"\n*** Talk to your agent: {base} ***\n", fg="green", bold=True)
        _say_what_is_open(listener)
        if options.webhook:
            _say_whose(without_password(options.webhook), settings.webhook_secret, secret_is_new=secret_is_new)
        else:
            _say_what_next(settings, f"{base}{WEBHOOK}", secret_is_new=secret_is_new)
        if options.tunnel:
            stack.enter_context(tunnel(settings, base))
        _end_with_the_terminal()
        server.run(application, listener, settings)


def development_app(
    settings: Settings,
    parts: AgentParts,
    base: str,
    webhook: str | None = None,
    *,
    tunnel: bool = False,
    hosts: Collection[str] = (),
) -> FastAPI:
    """The application and the playground. base: the server's own URL. webhook: another backend's. hosts: to which the
    playground answers, beside localhost."""
    application = create_app(settings if tunnel else _authorizing_here(settings, base), parts, documented=True)
    own, webhook = webhook is None, webhook or f"{base}{WEBHOOK}"
    add_playground(application, settings, parts, webhook=webhook, own=own, hosts=hosts)
    return application


def _check_url(url: str | None) -> None:
    if url is None:
        return
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise NotConfigured("--webhook takes the URL of a backend's webhook, as in http://localhost:3000/api/agent.")


def _base_url(listener: socket.socket) -> str:
    """How this machine reaches the server: by number, as the playground does not answer to names."""
    host, port = listener.getsockname()[:2]
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - only to be recognised
    return f"http://{f'[{near}]' if ':' in near else near}:{port}"


def _named(options: Options, listener: socket.socket) -> Collection[str]:
    """The hosts that were named, by --host too, unless that means all addresses."""
    given = {options.host, *listener.getsockname()[:1]} - _ALL
    return {host.lower().strip("[]") for host in (*given, *options.hosts)}


def _say_what_is_open(listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    if is_loopback(host):
        return
    echo(
        f"Everybody who reaches port {port} of this machine can talk to your agent in the playground, without a key,"
        " and so have its tools run here: any program can claim to be local. To use the page in another device's"
        " browser, name this machine as its address bar does: --allow-host 192.168.1.7.",
        fg="yellow",
    )


def _end_with_the_terminal() -> None:
    """A terminal that is closed ends the server as SIGTERM does: running turns are drained, and a tunnel is closed.
    Not under nohup."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _hung_up)


def _hung_up(*_: object) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):  # to print to a closed terminal is an error
        os.dup2(nowhere, output)
    signal.raise_signal(signal.SIGTERM)


def _authorizing_here(settings: Settings, base: str) -> Settings:
    """`/api/authorize` asks the stand-in, by the same code and over the same wire as it would ask Layercode."""
    key = settings.layercode_api_key or SecretStr(secrets.token_hex(16))
    return settings.model_copy(update={"layercode_api_url": f"{base}/layercode/v1", "layercode_api_key": key})


def _say_whose(webhook: str, secret: str, *, secret_is_new: bool) -> None:
    """Of another backend nothing is known here."""
    echo(f"Webhooks go to {webhook}, and are signed with LAYERCODE_WEBHOOK_SECRET.")
    if secret_is_new:
        echo(f"It is not set, so for this run it is {secret}. Start the backend with the same one.", fg="yellow")


def _say_what_next(settings: Settings, webhook: str, *, secret_is_new: bool) -> None:
    secret = settings.webhook_secret
    if secret_is_new:
        echo(f"No LAYERCODE_WEBHOOK_SECRET is set. For this run it is {secret}")
    echo(f"Model: {settings.model}. Tools: {settings.tools_dir}/ (read again when saved).")
    echo(f"Webhook: {webhook}. Try, in another terminal:")
    before = f"LAYERCODE_WEBHOOK_SECRET={secret} " if secret_is_new else ""
    echo(f"  {before}uv run voice say 'What time is it in Tokyo?' --url {webhook}")
    echo(
        "For real calls: `voice dev --tunnel` opens a public URL, to be pasted into the Layercode dashboard;"
        " `voice dev --check` says what they need."
    )
    missing = {
        "LAYERCODE_WEBHOOK_SECRET": secret_is_new,
        "LAYERCODE_API_KEY": not settings.layercode_api_key,
        "GOOGLE_GENERATIVE_AI_API_KEY": settings.model == "demo",
    }
    if any(missing.values()):
        names = ", ".join(name for name, is_missing in missing.items() if is_missing)
        echo(f"Missing in .env for that: {names}.", fg="yellow")
