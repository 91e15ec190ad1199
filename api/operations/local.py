"""Whether a request was made on this machine, as far as its headers tell.

A program can write any header; a page in a browser cannot choose Host and Origin, and proxies and tunnels say that
they passed a request on.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from ipaddress import ip_address

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(?::\d+)?")
_PASSED_ON = frozenset(("via", "forwarded", "true-client-ip", "client-ip", "cdn-loop"))
# Whatever else begins with x- is taken for a proxy's: each has names of its own, and browsers write none.
_PASSED_ON_AS = ("x-", "cf-", "cloudfront-", "fastly-", "fly-", "akamai-", "ngrok-", "tailscale-")
_OF_CLIENTS = ("x-requested-with", "x-prometheus-")


def is_local(host: str, named: Collection[str] = ()) -> bool:
    """Whether a host, with or without its port, is `localhost`, a loopback address, or one of `named`."""
    parts = _HOST.fullmatch(host)
    if parts is None:
        return False
    name = parts[1].strip("[]").lower()
    return name == "localhost" or name in named or is_loopback(name)


def was_passed_on(headers: Mapping[str, str]) -> bool:
    """Whether a proxy or a tunnel says that the request is not its own."""
    names = [name.lower() for name in headers if not name.lower().startswith(_OF_CLIENTS)]
    return any(name in _PASSED_ON or name.startswith(_PASSED_ON_AS) for name in names)


def is_loopback(address: str) -> bool:
    """Whether it is an address of this machine's own, such as 127.0.0.1 or ::1."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
