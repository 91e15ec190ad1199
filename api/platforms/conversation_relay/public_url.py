"""The URL under which the other side knows this server: what is signed, and what TwiML names."""

from __future__ import annotations

from starlette.requests import HTTPConnection


def public_url(connection: HTTPConnection, configured: str | None, scheme: str) -> str:
    """The URL of a request as its sender wrote it.

    configured: PUBLIC_URL, such as https://voice.example.com; without it, what a proxy's headers tell, or the request.
    scheme: `http` or `ws`; it becomes https or wss where the sender used TLS.
    """
    headers = connection.headers
    if configured:
        secure, host = configured.startswith("https"), configured.partition("://")[2].rstrip("/")
    else:
        secure = _first(headers.get("x-forwarded-proto", connection.url.scheme)) in ("https", "wss")
        host = _first(headers.get("x-forwarded-host", headers.get("host", "")))
    query = f"?{connection.url.query}" if connection.url.query else ""
    return f"{scheme}{'s' if secure else ''}://{host}{connection.url.path}{query}"


def _first(value: str) -> str:
    """Of what several proxies in a row have written, the outermost's."""
    return value.partition(",")[0].strip()
