"""What the model is told of a tool's arguments, and how what it sends becomes what the tool takes.

JSON Schema says more than the providers of models understand, and some refuse a whole request for one word that they
do not know. `declare` says the same in what all of them know: an object of texts, numbers, booleans, lists and objects,
texts of a few values, and alternatives. The rest (bounds, formats, numbers of a few values) is said in the description,
and checked when the tool is called.

Two things are told in another shape, which `restore` undoes:

    a dict whose keys are free      a list of {key, value}
    values of several types         their texts
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any

from agent.tooling.json_schema import Json, Schemas, Undeclarable, is_map, items_of, required_of
from agent.tooling.sandbox import Call

_NAME = re.compile(r"[A-Za-z_][\w.-]{0,63}", re.ASCII)
_SCALARS = ("string", "integer", "number", "boolean")
_FORMATS = {
    "date": "A date such as 2026-12-24.",
    "date-time": "A date and time such as 2026-12-24T19:30:00.",
    "time": "A time of day such as 19:30.",
    "duration": "A duration in ISO 8601, such as PT1H30M.",
    "uuid": "A UUID.",
}
_BOUNDS = {
    "minimum": "At least {}.",
    "maximum": "At most {}.",
    "exclusiveMinimum": "More than {}.",
    "exclusiveMaximum": "Less than {}.",
    "multipleOf": "A multiple of {}.",
    "minLength": "At least {} characters.",
    "maxLength": "At most {} characters.",
    "minItems": "At least {} of them.",
    "maxItems": "At most {} of them.",
    "pattern": "It matches {}",
}


def declare(schema: Mapping[str, Any], *, strict: bool = True) -> Json:
    """The schema of a tool's arguments in what every model knows. Undeclarable where there is no way.

    strict: whether a value that may be anything is an error; else it is told as a text.
    """
    told = _Declaration(schema, strict=strict)
    properties = {name: told.of(part, name) for name, part in schema.get("properties", {}).items()}
    return {"type": "object", "properties": properties, **required_of(schema, told.schemas)}


def restore(value: Any, schema: Mapping[str, Any]) -> Any:
    """What a model has sent, as the schema has it. What does not fit comes back as it is, for the check to refuse."""
    return _Restored(Schemas(schema)).of(value, schema)


def restoring(call: Call, schema: Mapping[str, Any]) -> Call:
    """The call, which gets its arguments as the schema has them."""

    @wraps(call)
    async def restored(**arguments: Any) -> Any:
        return await call(**restore(arguments, schema))

    return restored


class _Declaration:
    def __init__(self, root: Mapping[str, Any], *, strict: bool) -> None:
        self.schemas = Schemas(root)
        self._strict = strict
        self.schemas.refuse_endless(root)

    def of(self, schema: Any, place: str) -> Json:
        """`place`: where it is among the arguments, for the error."""
        if not _NAME.fullmatch(name := place.rpartition(".")[2].rstrip("[]")) and self._strict:
            raise Undeclarable(f"argument {place!r}: the name {name!r} has characters other than a-z, 0-9 and _")
        return {**self._told(schema, place), **_default(schema)}

    def _told(self, schema: Any, place: str) -> Json:
        options = _distinct(self._one(option, place) for option in self.schemas.options(schema))
        if len(options) == 1:
            return options[0]
        if not options:
            return self._untyped(place, "it can be nothing but None")
        describes = {"description": schema["description"]} if schema.get("description") else {}
        return {**describes, "anyOf": [_without(option, describes) for option in options]}

    def _one(self, schema: Json, place: str) -> Json:
        kind = schema.get("type")
        if "enum" in schema:
            return self._choice(schema, place)
        if kind in _SCALARS:
            return _described({"type": kind}, schema)
        if kind == "array":
            return self._list(schema, place)
        if is_map(schema):
            return self._map(schema, place)
        if kind == "object" or schema.get("properties"):
            return self._object(schema, place)
        return _described(self._untyped(place, "it may be anything"), schema)

    def _untyped(self, place: str, why: str) -> Json:
        if self._strict:
            raise Undeclarable(
                f"argument {place!r}: {why}, and the model must be told what it is: annotate it with str, int, float,"
                " bool, list[str], dict[str, str], Literal['a', 'b'], an Enum or a pydantic model"
            )
        return {"type": "string"}

    def _choice(self, schema: Json, place: str) -> Json:
        """Only texts can be told as a choice, and no empty one."""
        choices = [choice for choice in schema["enum"] if choice is not None]
        if any(isinstance(choice, list | dict) for choice in choices):
            return self._untyped(place, "it has values that are lists or dicts")
        kinds = {_kind(choice) for choice in choices}
        if kinds <= {"integer", "number", "boolean"} and len(kinds) == 1:
            return _described({"type": kinds.pop()}, schema, f"One of: {_listed(choices)}.")
        texts = [_text(choice) for choice in choices]
        if all(texts):
            return _described({"type": "string", "enum": list(dict.fromkeys(texts))}, schema)
        return _described({"type": "string"}, schema, f"One of: {_listed(choices)}.")

    def _list(self, schema: Json, place: str) -> Json:
        items = [self.of(part, f"{place}[]") if part else self._item(place) for part in items_of(schema)]
        differ = any(item != items[0] for item in items)
        more = f"In this order: {', '.join(map(_summary, items))}." if differ else ""
        kinds = [{key: value for key, value in item.items() if key != "description"} for item in items]
        options = _distinct(option for kind in (kinds if differ else items) for option in kind.get("anyOf", [kind]))
        common = options[0] if len(options) == 1 else {"anyOf": options}
        return _described({"type": "array", "items": common}, schema, more)

    def _item(self, place: str) -> Json:
        if self._strict:
            raise Undeclarable(f"argument {place!r}: it does not say what is in the list: write list[str], list[int] …")
        return {"type": "string"}

    def _map(self, schema: Json, place: str) -> Json:
        inner = schema.get("additionalProperties")
        if not inner and schema.get("patternProperties"):
            inner = next(iter(schema["patternProperties"].values()))
        if not isinstance(inner, Mapping) or not inner:
            if self._strict:
                raise Undeclarable(
                    f"argument {place!r}: it does not say what is in the dict: write dict[str, str], dict[str, int] …,"
                    " or a pydantic model with fields"
                )
            inner = {"type": "string"}
        pair = {"key": {"type": "string"}, "value": self.of(inner, f"{place}.value")}
        items = {"type": "object", "properties": pair, "required": ["key", "value"]}
        return _described({"type": "array", "items": items}, schema)

    def _object(self, schema: Json, place: str) -> Json:
        properties = {name: self.of(part, f"{place}.{name}") for name, part in schema["properties"].items()}
        required = required_of(schema, self.schemas)
        return _described({"type": "object", "properties": properties, **required}, schema)


def _distinct(options: Iterable[Json]) -> list[Json]:
    kept: list[Json] = []
    for option in options:
        if option not in kept:
            kept.append(option)
    return kept


def _described(told: Json, schema: Mapping[str, Any], more: str = "") -> Json:
    """With what is known of it beyond its type, in words."""
    known = [told.get("description", ""), schema.get("description", ""), more, *_rules(schema)]
    sentences = " ".join(sentence for sentence in known if sentence)
    return {**told, "description": sentences} if sentences else told


def _rules(schema: Mapping[str, Any]) -> Iterator[str]:
    if text_format := schema.get("format"):
        yield _FORMATS.get(text_format, f"Format: {text_format}.")
    if schema.get("minItems") is not None and schema.get("minItems") == schema.get("maxItems"):
        yield f"Exactly {schema['minItems']} of them."
        return
    for key, sentence in _BOUNDS.items():
        if schema.get(key) is not None and not (key == "pattern" and text_format):
            yield sentence.format(schema[key])


def _default(schema: Any) -> Json:
    default = schema.get("default") if isinstance(schema, Mapping) else None
    return {} if default is None else {"default": default}


def _without(option: Json, describes: Json) -> Json:
    return {key: value for key, value in option.items() if describes.get(key) != value}


def _kind(value: Any) -> str:
    kinds = {bool: "boolean", int: "integer", float: "number"}
    return kinds.get(type(value), "string")


def _summary(item: Json) -> str:
    kind, means = item.get("type", "one of several"), item.get("description", "").rstrip(".")
    return f"{kind} ({means})" if means else str(kind)


def _text(choice: Any) -> str:
    return choice if isinstance(choice, str) else json.dumps(choice)


def _listed(choices: Sequence[Any]) -> str:
    return ", ".join(json.dumps(choice, ensure_ascii=False) for choice in choices)


class _Restored:
    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas

    def of(self, value: Any, schema: Any) -> Any:
        options = self._schemas.options(schema)
        if isinstance(value, list):
            return self._list(value, options)
        if isinstance(value, Mapping):
            return self._object(value, options)
        return _chosen(value, options)

    def _list(self, value: list[Any], options: Sequence[Json]) -> Any:
        array = next((option for option in options if option.get("type") == "array"), None)
        if array:
            places = items_of(array)
            return [self.of(item, places[min(at, len(places) - 1)]) for at, item in enumerate(value)]
        keyed = next((option for option in options if is_map(option)), None)
        if keyed and all(isinstance(pair, Mapping) and pair.keys() == {"key", "value"} for pair in value):
            inner = keyed.get("additionalProperties")
            return {str(pair["key"]): self.of(pair["value"], inner) for pair in value}
        return value

    def _object(self, value: Mapping[str, Any], options: Sequence[Json]) -> Any:
        fields = [option for option in options if option.get("properties")]
        if len(fields) != 1:
            return value
        properties, required = fields[0]["properties"], fields[0].get("required", ())
        restored = {
            name: self.of(part, properties.get(name))
            for name, part in value.items()
            if part is not None or name in required or self._schemas.takes_null(properties.get(name))
        }
        nothing = (name for name in required if name not in value and self._schemas.takes_null(properties.get(name)))
        return {**restored, **dict.fromkeys(nothing)}


def _chosen(value: Any, options: Sequence[Json]) -> Any:
    """The value of a choice that was told by its text."""
    choices = [choice for option in options for choice in option.get("enum", ())]
    if isinstance(value, bool) or value in choices:
        return value
    return next((choice for choice in choices if _text(choice) == value), value)
