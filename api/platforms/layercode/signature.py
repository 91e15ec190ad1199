"""Layercode's webhook signature: `layercode-signature: t=<unix seconds>,v1=<hex HMAC-SHA256>`.

Signed is `t` + `.` + the body as it came over the wire, so verify before anything parses it (protocol sheet
§3). What the official Node SDK accepts is accepted here: text around the pattern, leading zeros in `t` (the
number is what was signed). What it refuses is refused: `v1` first, a space after the comma, upper-case hex.

Departures: the comparison takes constant time, and an empty secret is an error instead of an open door.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re

HEADER = "layercode-signature"

_PATTERN = re.compile(r"t=([0-9]+),v1=([a-fA-F0-9]+)")
_SKEW = "signed {} s before this machine's time, where {} s either way are allowed: is its clock right?"
_OTHER_SECRET = "is LAYERCODE_WEBHOOK_SECRET that of this agent, and does no proxy rewrite the body?"  # noqa: S105
_LONGEST_TIME = 15  # digits; more is no date, and int() refuses some thousands of them


class BadSignature(Exception):
    """For the operator's log, never for the caller. reason: missing, malformed, stale or mismatch. detail: what to
    look at."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


def verify(secret: str, header: str | None, body: bytes, now: float, tolerance: int = 300) -> None:
    """Return if `body` was signed with `secret` within `tolerance` seconds of `now`, else raise BadSignature.

    As in the Node SDK the age is counted in whole seconds, and both ends of the tolerance are within it.
    """
    _require(secret)
    digits, given = read(header, now, tolerance)
    if not hmac.compare_digest(_digest(secret, digits, body).encode(), given.encode()):
        raise BadSignature("mismatch", _OTHER_SECRET)


def read(header: str | None, now: float, tolerance: int = 300) -> tuple[str, str]:
    """What the header says, before there is a body: the time as it was signed, and the HMAC. BadSignature when it is
    missing, malformed or stale."""
    if not header:
        raise BadSignature("missing")
    match = _PATTERN.search(header)
    if match is None:
        raise BadSignature("malformed")
    digits = match[1].lstrip("0") or "0"
    if len(digits) > _LONGEST_TIME or abs(math.floor(now) - int(digits)) > tolerance:
        raise BadSignature("stale", _SKEW.format(math.floor(now) - int(digits[:_LONGEST_TIME]), tolerance))
    return digits, match[2]


def sign(secret: str, body: bytes, now: int) -> str:
    """The header's value for `body`, signed at `now`."""
    _require(secret)
    return f"t={now},v1={_digest(secret, str(now), body)}"


def _digest(secret: str, time: str, body: bytes) -> str:
    return hmac.new(secret.encode(), time.encode() + b"." + body, hashlib.sha256).hexdigest()


def _require(secret: str) -> None:
    if not secret:
        raise ValueError("the webhook secret is empty: anybody could sign with it")
