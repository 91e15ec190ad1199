"""A call's arguments as the tool will get them, or what is wrong with them in words for the model.

They are read as pydantic reads them, so that "4" is 4 where a number is due. Where they decide about an action, two
things are not guessed: whether something is true, and what an argument means that the tool does not have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from langchain_core.tools import BaseTool
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from agent.tooling.decorator import VoiceTool, acts

_MOST_FAULTS = 5  # that the model is told of at once


class Refused(Exception):
    """The call is not run. The text is for the model."""


def validated(tool: BaseTool, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments in JSON, as the tool will read them. Refused, without the values, when it cannot."""
    if isinstance(tool, VoiceTool) and tool.faults:
        _refuse(tool.faults(arguments))
        return dict(arguments)
    made = _read(tool, arguments)
    if not isinstance(made, BaseModel):
        return dict(arguments)
    values = made.model_dump(by_alias=True, exclude_unset=True)
    if acts(tool):
        _refuse([*_unknown(made, arguments), *_guessed(arguments, values)])
    return _in_json(made, arguments)


def values_of(tool: BaseTool, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as the tool's function gets them, with the defaults of those that are left out; as they are where
    they do not fit."""
    schema = tool.args_schema
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        with suppress(ValidationError):
            return dict(schema.model_validate(arguments))
    defaults = {name: part["default"] for name, part in tool.args.items() if part.get("default") is not None}
    return {**defaults, **arguments}


def _read(tool: BaseTool, arguments: Mapping[str, Any]) -> Any:
    try:
        return TypeAdapter(tool.get_input_schema()).validate_python(arguments)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False)]
    raise _wrong(faults)


def _refuse(faults: Sequence[str]) -> None:
    if faults:
        raise _wrong(faults)


def _wrong(faults: Sequence[str]) -> Refused:
    return Refused(f"Nothing was done: the arguments are wrong. {'; '.join(faults[:_MOST_FAULTS])}.")


def _unknown(made: BaseModel, arguments: Mapping[str, Any]) -> Iterator[str]:
    """An argument that the tool does not have would be lost without a word. Not where the tool says what becomes of
    such."""
    fields = type(made).model_fields
    if made.model_config.get("extra") or fields.keys() & {"args", "kwargs"}:
        return
    known = {*fields, *(alias for field in fields.values() for alias in (field.alias, field.validation_alias))}
    for name in arguments:
        if name not in known:
            yield f"{name}: there is no such argument, there are: {', '.join(fields) or 'none'}"


def _guessed(given: Any, value: Any, place: str = "") -> Iterator[str]:
    """Where something became true or false that was not, or the reverse."""
    if isinstance(given, Mapping) and isinstance(value, Mapping):
        for name in given.keys() & value.keys():
            yield from _guessed(given[name], value[name], f"{place}.{name}" if place else str(name))
    elif isinstance(given, list) and isinstance(value, list | tuple):
        for at, (one, other) in enumerate(zip(given, value, strict=False)):
            yield from _guessed(one, other, f"{place}.{at}")
    elif isinstance(value, bool) and not isinstance(given, bool):
        yield f"{place}: true or false itself, not a word or a number for it"
    elif isinstance(given, bool) and isinstance(value, int | float | str) and not isinstance(value, bool):
        yield f"{place}: true or false is not its value"


def _in_json(made: BaseModel, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What was read, in JSON; what was given, where that does not come to the same when it is read again."""
    try:
        plain: dict[str, Any] = made.model_dump(mode="json", by_alias=True, exclude_unset=True)
        same = type(made).model_validate(plain) == made
    except (PydanticSerializationError, ValidationError):
        same = False
    return plain if same else dict(arguments)
