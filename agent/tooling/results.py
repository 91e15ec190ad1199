"""What a tool has returned, as the text that the model gets: a text as it is, anything else as JSON."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import ToolMessage
from langgraph.types import Command

from agent.json_values import replace_surrogates, to_json

LONGEST = 8_000  # characters
_NOTE = " … [{missing:,} of {all:,} {what} are missing here, as it was too long.]"
_ROOM_FOR_NOTE = 80  # characters
_LEAST = 200  # characters that a text, or what is in a list, must have to be worth a beginning of it
_ENDS = (re.compile(r"\n"), re.compile(r"[.!?…。！？][\"”’)]*\s|[。！？]"), re.compile(r"\s"))


class NotAResult(TypeError):
    """A tool returned what no model can be told. The text is for the tool's author."""


def text_of(value: Any) -> str:
    """The result for the model, at most about `LONGEST` characters. "Done." for nothing. NotAResult."""
    if isinstance(value, ToolMessage):
        value = value.text
    if isinstance(value, Command) or inspect.isawaitable(value) or inspect.isgenerator(value) or _is_async(value):
        raise NotAResult(f"a tool returned a {type(value).__name__}: return text, or what JSON can hold")
    if value is None or value == "":
        return "Done."
    if _is_content(value):
        return shortened("\n".join(block["text"] for block in value))
    made = to_json(value)
    return shortened(made) if isinstance(made, str) else _short_json(made)


def _is_async(value: Any) -> bool:
    return hasattr(value, "__anext__") or hasattr(value, "__aiter__")


def _is_content(value: Any) -> bool:
    """LangChain's blocks of text."""
    return isinstance(value, list) and bool(value) and all(
        isinstance(block, dict) and block.get("type") == "text" and "text" in block for block in value
    )  # fmt: skip


def shortened(text: str) -> str:
    """The text, cut at the end of a line, a sentence or a word when it is too long, and saying so. JSON loses whole
    elements."""
    text = replace_surrogates(text)
    if len(text) <= LONGEST:
        return text
    try:
        made = json.loads(text) if text.lstrip()[:1] in ("{", "[") else None
    except (ValueError, RecursionError):
        made = None
    return _cut(text, LONGEST) if made is None else _short_json(to_json(made))


def _cut(text: str, limit: int) -> str:
    room = limit - _ROOM_FOR_NOTE
    for end in _ENDS:
        ends = [found.end() for found in end.finditer(text, room // 2, room)]
        if ends:
            room = ends[-1]
            break
    return text[:room].rstrip() + _NOTE.format(missing=len(text) - room, all=len(text), what="characters")


def _short_json(value: Any) -> str:
    """As JSON; as its beginning, where shortening what is in it does not help, as with control characters."""
    text = _dumped(_fitted(value, LONGEST))
    return text if len(text) <= 2 * LONGEST else _cut(text, LONGEST)


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _fitted(value: Any, room: int) -> Any:
    """JSON in so many characters: what is long in it loses its end, and says so."""
    if len(_dumped(value)) <= room:
        return value
    if isinstance(value, str):
        return _cut(value, max(room, _ROOM_FOR_NOTE + 20))
    if isinstance(value, list):
        return _some_of(value, room)
    if isinstance(value, Mapping):
        return _some_fields(value, room)
    return value


def _some_of(items: Sequence[Any], room: int) -> list[Any]:
    """Elements from the first on, as many as there is room for."""
    kept: list[Any] = []
    room -= _ROOM_FOR_NOTE
    for item in items:
        if len(_dumped(item)) + 2 > room:
            break
        kept.append(item)
        room -= len(_dumped(item)) + 2
    if len(kept) < len(items) and room > _LEAST and len(_dumped(items[len(kept)])) > LONGEST // 4:
        kept.append(_fitted(items[len(kept)], room))
    missing = len(items) - len(kept)
    note = _NOTE.format(missing=missing, all=len(items), what="elements").strip()
    return [*kept, note] if missing else kept


def _some_fields(fields: Mapping[str, Any], room: int) -> dict[str, Any]:
    """Every field, the long ones shortened alike; if they are too many, those that fit."""
    costs = {name: len(_dumped(name)) + 4 for name in fields}
    room -= _ROOM_FOR_NOTE
    fitted: dict[str, Any] = {}
    left = len(fields)
    for name in sorted(fields, key=lambda name: len(_dumped(fields[name]))):
        share, size = room // left - costs[name], len(_dumped(fields[name]))
        if size + costs[name] > room if size <= _LEAST else share < _LEAST:
            break
        fitted[name] = fields[name] if size <= _LEAST else _fitted(fields[name], share)
        room -= costs[name] + len(_dumped(fitted[name]))
        left -= 1
    more = {"…": _NOTE.format(missing=left, all=len(fields), what="fields").strip()} if left else {}
    return {**{name: fitted[name] for name in fields if name in fitted}, **more}
