"""A rate limit: a token bucket for each key, in memory."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

_MOST_KEYS = 10_000


class Rate:
    """At most `per_minute` for each key, all of them at once if there were none before.

    Of more than `keys` the one that was seen longest ago is forgotten.
    """

    def __init__(self, per_minute: int, *, keys: int = _MOST_KEYS, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(per_minute)
        self._keys = keys
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens left, when

    def wait(self, key: str) -> float:
        """Take a token, and 0; or the seconds until there will be one."""
        now = self._clock()
        left, at = self._buckets.pop(key, (self._most, now))
        left = min(self._most, left + (now - at) * self._most / 60)
        taken = left >= 1
        self._buckets[key] = left - taken, now
        if len(self._buckets) > self._keys:
            self._buckets.popitem(last=False)
        return 0.0 if taken else (1 - left) * 60 / self._most


def network_of(address: str) -> str:
    """What counts as one client: an IPv4 address, also when it is written as IPv6, or the /64 network that one IPv6
    customer has for himself."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))
