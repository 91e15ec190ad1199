"""One signed webhook of an unknown type: whether a URL leads to a server that knows our secret. It starts no turn."""

from __future__ import annotations

import httpx

from agent.tls import tls_context
from api.platforms.layercode import signed_headers

_BODY = b'{"type":"voice.probe"}'
_TIMEOUT = httpx.Timeout(8, connect=4)  # seconds

_REASONS = {
    401: "the server there has another webhook secret than LAYERCODE_WEBHOOK_SECRET here, or a wrong clock",
    403: "something in front of the server refuses strangers: switch that off for webhooks",
    404: "no webhook is there: the path is /api/agent",
    405: "a deployment protection, or a page, stands there instead of the webhook: switch the protection off",
    502: "the tunnel or proxy there has no server behind it: is it running, on that port?",
    530: "that tunnel is closed: open a new one",
}


def probe(url: str, secret: str) -> str | None:
    """None when a server like this one, with this secret, answers at `url`; else why not, and what to do."""
    try:
        with httpx.Client(timeout=_TIMEOUT, verify=tls_context()) as http:
            answer = http.post(url, content=_BODY, headers=signed_headers(secret, _BODY))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"nothing answers there ({type(error).__name__}): is the server, and its tunnel, running?"
    if answer.is_redirect:
        return f"it leads elsewhere ({answer.status_code}): give Layercode the final URL"
    if answer.status_code != 200:
        reason = _REASONS.get(answer.status_code, "the server there does not take webhooks: look at its log")
        return f"it answers {answer.status_code}: {reason}"
    return None if _is_ours(answer) else "something answers there, but not this backend: compare host and path"


def _is_ours(answer: httpx.Response) -> bool:
    try:
        return bool(answer.json() == {"status": "ok"})
    except ValueError:
        return False
