"""How checkpoints are written and read: LangGraph's serializer, for the types that this program stores.

LangGraph's own one imports and calls whatever a row names. Whoever can write a row of `checkpoints`, such as a tool
that shares the database, or an SQL injection in one, would have their code run at the conversation's next turn.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import ormsgpack
from langchain_core import messages
from langgraph.checkpoint.serde.jsonplus import (
    EXT_CONSTRUCTOR_KW_ARGS,
    EXT_CONSTRUCTOR_POS_ARGS,
    EXT_CONSTRUCTOR_SINGLE_ARG,
    EXT_METHOD_SINGLE_ARG,
    EXT_PYDANTIC_V2,
    JsonPlusSerializer,
)

log = logging.getLogger(__name__)

_MESSAGES = ("ai.AIMessage", "human.HumanMessage", "system.SystemMessage", "tool.ToolMessage", "modifier.RemoveMessage")
_VALUES = (
    "builtins.set", "builtins.frozenset", "collections.deque", "datetime.date", "datetime.datetime", "datetime.time",
    "datetime.timedelta", "datetime.timezone", "decimal.Decimal", "uuid.UUID", "zoneinfo.ZoneInfo",
)  # fmt: skip
_LANGGRAPH = ("langgraph.types.Send", "langgraph.types.Interrupt", "langgraph.types.Overwrite")
_CHUNKS = tuple(f"{name}Chunk" for name in _MESSAGES[:-1])
ALLOWED = frozenset((*(f"langchain_core.messages.{name}" for name in _MESSAGES + _CHUNKS), *_VALUES, *_LANGGRAPH))
_METHODS = frozenset(("datetime.datetime.fromisoformat",))

_MADE = {EXT_CONSTRUCTOR_SINGLE_ARG, EXT_CONSTRUCTOR_POS_ARGS, EXT_CONSTRUCTOR_KW_ARGS, EXT_PYDANTIC_V2}
_KINDS = {"null", "bytes", "bytearray", "msgpack"}


class ForeignType(ValueError):
    """A checkpoint names a type that is none of ours. The text is a sentence for the operator."""


class Serializer(JsonPlusSerializer):
    """Reads and writes messages, plain values and LangGraph's own types. ForeignType for anything else."""

    def __init__(self) -> None:
        super().__init__(allowed_msgpack_modules=[tuple(name.rsplit(".", 1)) for name in ALLOWED])

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        kind, data = super().dumps_typed(obj)
        if kind == "msgpack":
            _unpack(data, lambda code, content, parts: None)
        return kind, data

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        kind, content = data
        if kind not in _KINDS:
            _refuse([f"of kind {kind!r}"])
        return _unpack(content, self._make) if kind == "msgpack" else super().loads_typed(data)

    def _make(self, code: int, content: bytes, parts: Any) -> Any:
        """A message was validated before it was written: it is not again."""
        message = getattr(messages, parts[1], None) if code == EXT_PYDANTIC_V2 else None
        if message:
            return message.model_construct(**parts[2])
        return self._unpack_ext_hook(code, content)


def _unpack(data: bytes, make: Callable[[int, bytes, Any], Any]) -> Any:
    """The value, with what `make` makes of each type in it. ForeignType when one is not allowed: it is not made."""
    found: list[str] = []

    def look(code: int, content: bytes) -> Any:
        parts = ormsgpack.unpackb(content, ext_hook=look, option=ormsgpack.OPT_NON_STR_KEYS)
        found.extend(_named(code, parts))
        return None if found else make(code, content, parts)

    value = ormsgpack.unpackb(data, ext_hook=look, option=ormsgpack.OPT_NON_STR_KEYS)
    if found:  # what the hook raises is lost
        _refuse(found)
    return value


def _refuse(foreign: list[str]) -> NoReturn:
    what = ", ".join(sorted(set(foreign)))[:200]
    sentence = f"A checkpoint has something {what} in it, which is not among the types that are stored here"
    log.error("%s: it is refused", sentence)
    raise ForeignType(f"{sentence}.")


def _named(code: int, made: Any) -> Iterator[str]:
    parts = made if isinstance(made, list | tuple) else ()
    name = ".".join(str(part) for part in parts[:2])
    if code == EXT_METHOD_SINGLE_ARG and len(parts) == 4:
        name = f"{name}.{parts[3]}"
        allowed = name in _METHODS
    else:
        allowed = code in _MADE and name in ALLOWED
    if not allowed:
        yield f"made by {name!r}"
