"""Access to the playground, from this machine only, as `voice dev` may have a public tunnel, and a browser any page.

- The Host must be `localhost`, a loopback address, or one that was named: tunnels have names, and so have pages that
  rebind theirs to 127.0.0.1.
- No proxy or tunnel may have passed the request on: some can be told what Host to write.
- The Origin, if there is one, must be this server's own; for Layercode's two paths any that is as local will do, as
  those want a key.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from api.operations import is_local, was_passed_on

log = logging.getLogger(__name__)

LAYERCODE = "/layercode/v1/"


class Guard:
    """ASGI middleware: refuses requests with another Host, or passed on by a proxy, with 404, and those with another
    Origin with 403. named: hosts that count as local."""

    def __init__(self, app: ASGIApp, named: Collection[str] = ()) -> None:
        self._app = app
        self._named = named
        self._told = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self._refused(scope)
        if refused and refused.status_code == 404 and not self._told:
            self._told = True
            log.info("the playground answers to localhost only, not to proxies; --allow-host names other hosts")
        if refused is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(refused)
        else:
            await refused(scope, receive, send)

    def _refused(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if was_passed_on(headers) or not is_local(host, self._named):
            return JSONResponse({"detail": "Not Found"}, 404)
        origin_host = origin.partition("://")[2] if origin else host
        local = scope["path"].startswith(LAYERCODE) and is_local(origin_host, self._named)
        if origin_host.lower() == host.lower() or local:
            return None
        return JSONResponse({"error": "Pages of other origins are not let in here."}, 403)


def local_origin(named: Collection[str] = ()) -> str:
    """A pattern for the Origins that are as local as a Host must be."""
    others = "".join(f"|{re.escape(f'[{name}]' if ':' in name else name)}" for name in named)
    return rf"https?://(localhost|127(\.\d+){{3}}|\[::1\]{others})(:\d+)?"
