"""Values as JSON has them: what a tool shows or says goes to a page, into the database, and maybe out again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 100  # levels of JSON; what is stored or sent on later must not exhaust the stack there
_MAX_BITS = 1024  # of an integer: beyond is Infinity to a JSON reader that knows doubles only


def to_json(value: Any, above: tuple[int, ...] = ()) -> Any:
    """The value in what JSON has. `above` are the containers around it, to stop at a cycle."""
    if isinstance(value, str):
        return replace_surrogates(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if value.bit_length() <= _MAX_BITS else None
    if not isinstance(value, Mapping | list | tuple):
        return replace_surrogates(str(value))
    if id(value) in above or len(above) >= MAX_DEPTH:
        return None
    above = (*above, id(value))
    if isinstance(value, Mapping):
        return {_key(key): to_json(item, above) for key, item in value.items()}
    return [to_json(item, above) for item in value]


def _key(key: Any) -> str | float | None:
    """A key that `json.dumps` spells as JSON would: 1 as "1", True as "true"."""
    return to_json(key) if isinstance(key, str | int | float | None) else replace_surrogates(str(key))


def replace_surrogates(text: str) -> str:
    """The text with each lone surrogate replaced by U+FFFD, so that it can be encoded."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def strip_nul(text: str) -> str:
    """The text without NUL, which Postgres cannot store, in its place U+FFFD."""
    return text.replace("\0", "\ufffd")
