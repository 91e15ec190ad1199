"""Values as JSON has them: what a tool shows or says goes to a page, into the database, and maybe out again."""

from __future__ import annotations

import base64
import math
from collections import deque
from collections.abc import Mapping, Set
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from enum import Enum
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

MAX_DEPTH = 100  # levels of JSON; what is stored or sent on later must not exhaust the stack there
_MAX_BITS = 1024  # of an integer: beyond is Infinity to a JSON reader that knows doubles only


def to_json(value: Any, above: tuple[int, ...] = ()) -> Any:
    """The value in what JSON has. `above` are the containers around it, to stop at a cycle."""
    if isinstance(value, Enum):
        return to_json(value.value, above)
    if isinstance(value, str):
        return replace_surrogates(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if value.bit_length() <= _MAX_BITS else None
    plain = _plain(value)
    if not isinstance(plain, Mapping | list | tuple):
        return replace_surrogates(plain if isinstance(plain, str) else str(value))
    if id(value) in above or len(above) >= MAX_DEPTH:
        return None
    above = (*above, id(value))
    if isinstance(plain, Mapping):
        return {_key(key): to_json(item, above) for key, item in plain.items()}
    return [to_json(item, above) for item in plain]


def is_deeper(value: Any, levels: int) -> bool:
    """Whether parsed JSON has lists or objects within each other of more than so many levels."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inner is not None and (levels <= 0 or any(is_deeper(item, levels - 1) for item in inner))


def _plain(value: Any) -> Any:
    """A container's own parts as a dict or a list; of a value, what stands for it in JSON. What is not known stays."""
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True, warnings=False)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Set | deque):
        return list(value)
    if isinstance(value, bytes | bytearray):
        return _of_bytes(bytes(value))
    if isinstance(value, date | time | timedelta):
        return str(to_jsonable_python(value))
    return value


def _of_bytes(value: bytes) -> str:
    """Text, as most bytes are; else in base64."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


def _key(key: Any) -> str | float | None:
    """A key that `json.dumps` spells as JSON would: 1 as "1", True as "true"."""
    made = to_json(key)
    return made if isinstance(made, str | int | float | None) else replace_surrogates(str(key))


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
