"""Access to the playground, from this machine and its network only, as `voice dev` may have a public tunnel.

- The Host must be `localhost` or an IP address: tunnels have names, and so have pages that rebind theirs to 127.0.0.1.
- The Origin, if there is one, must be this server's own; for Layercode's two paths any that is as local will do, as
  those want a key.
"""

from __future__ import annotations

import logging
import re
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

log = logging.getLogger(__name__)

LOCAL_ORIGIN = r"https?://(localhost|\d+\.\d+\.\d+\.\d+|\[[0-9a-fA-F:.]+\])(:\d+)?"
LAYERCODE = "/layercode/v1/"
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(?::\d+)?")


class Guard:
    """ASGI middleware: refuses requests with another Host with 404, and those with another Origin with 403."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._told = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = _refused(scope)
        if refused and refused.status_code == 404 and not self._told:
            self._told = True
            log.info("the playground answers to localhost and IP addresses only: another name in Host finds nothing")
        if refused is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(refused)
        else:
            await refused(scope, receive, send)


def _refused(scope: Scope) -> Response | None:
    headers = Headers(scope=scope)
    host, origin = headers.get("host", ""), headers.get("origin")
    if not _is_local(host):
        return JSONResponse({"detail": "Not Found"}, 404)
    origin_host = origin.partition("://")[2] if origin else host
    if origin_host.lower() == host.lower() or (scope["path"].startswith(LAYERCODE) and _is_local(origin_host)):
        return None
    return JSONResponse({"error": "Pages of other origins are not let in here."}, 403)


def _is_local(host: str) -> bool:
    """Whether a host, with or without its port, is `localhost` or an IP address."""
    parts = _HOST.fullmatch(host)
    try:
        return parts is not None and (parts[1].lower() == "localhost" or bool(ip_address(parts[1].strip("[]"))))
    except ValueError:
        return False
