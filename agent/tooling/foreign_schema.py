"""JSON Schemas that somebody else wrote, such as an MCP server or whoever made a run file.

Nothing is fetched: a schema that refers to anything but its own parts is refused by name. And nothing in it holds the
event loop up: it has a limited size, its references followed; a check has a limited time; and patterns are matched by
RE2, in a time that grows with the text alone. What RE2 does not know (look-around, references back) and
`patternProperties` are not checked here: the server checks what it gets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import re2  # type: ignore[import-untyped]
import referencing

from agent.tooling.json_schema import Json, Undeclarable, part_at

_Keyword = Callable[[Any, Any, Any, Any], Iterator[Any] | None]

_MOST_PARTS = 2000  # of a schema, each counted as often as it is referred to
_DEEPEST = 60
_SECONDS = 0.2  # that a check may take
_MOST_FAULTS = 5
_MOST_LOOKS = 300_000  # values of the arguments times parts of the schema
_TOO_MANY = ["arguments: they are too many to be checked"]
_PATTERN_MEMORY = 1 << 20  # bytes
_REFUSED = ("$dynamicRef", "$recursiveRef", "$id")
_OF_NAMES = frozenset(("properties", "$defs", "definitions", "patternProperties", "dependentSchemas", "dependencies"))
_DATA = frozenset(("enum", "const", "default", "examples", "required", "dependentRequired"))
_LEFT_OUT = frozenset(("patternProperties", "additionalProperties", "unevaluatedProperties"))
_NO_FORMATS = jsonschema.FormatChecker(formats=())


class _TooSlow(Exception):
    pass


class ForeignSchema:
    """A schema, ready to check arguments by. Undeclarable or SchemaError when it cannot be used."""

    def __init__(self, schema: Json) -> None:
        kind = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
        self._patterns: dict[str, Any] = {}
        self._places: set[int] = set()
        self._until = 0.0
        self._schema = schema
        own = self._copied(schema)
        seen = [0]
        self._follow(schema, schema, seen)
        self._most = _MOST_LOOKS // seen[0]
        kind.check_schema(own, format_checker=_NO_FORMATS)
        timed = {name: self._timed(check) for name, check in kind.VALIDATORS.items()}
        bounded = jsonschema.validators.extend(kind, {**timed, "pattern": self._match})
        self._validator = bounded(own, registry=referencing.Registry())

    def too_many(self, arguments: Mapping[str, Any]) -> list[str]:
        """A fault when the arguments have more values than can be compared with all of the schema."""
        return _TOO_MANY if _values(arguments) > self._most else []

    def _unknown(self, arguments: Mapping[str, Any]) -> list[str]:
        """A fault for each argument of which the schema says nothing: the server may drop it without a word."""
        named = self._schema.get("properties", {})
        says = {"additionalProperties", "patternProperties", "unevaluatedProperties", "$ref", "allOf", "anyOf", "oneOf"}
        if says & self._schema.keys():
            return []
        unknown = islice((name for name in arguments if name not in named), _MOST_FAULTS)
        return [f"{name}: there is no such argument, there are: {', '.join(named) or 'none'}" for name in unknown]

    def faults(self, arguments: Mapping[str, Any], *, strict: bool = False) -> list[str]:
        """What to mend, without the values: a few faults at most. strict: the call may change something, so that an
        argument which the schema does not know is one."""
        self._until = time.monotonic() + _SECONDS
        try:
            wrong = [_told(error) for error in islice(self._validator.iter_errors(dict(arguments)), _MOST_FAULTS)]
            return [*wrong, *(self._unknown(arguments) if strict else ())]
        except (_TooSlow, RecursionError):
            return _TOO_MANY

    def _copied(self, schema: Any, depth: int = 0) -> Any:
        """The schema without what would leave our bounds."""
        if not isinstance(schema, Mapping):
            return schema
        self._places.add(id(schema))
        if depth > _DEEPEST or len(self._places) > _MOST_PARTS:
            raise Undeclarable("its schema is too large")
        for word in _REFUSED:
            if word in schema:
                raise Undeclarable(f"its schema has {word}, which may lead elsewhere")
        left_out = {"$schema", *(_LEFT_OUT if "patternProperties" in schema else ())}
        copied = {key: _replaced(key, part, lambda part: self._copied(part, depth + 1)) for key, part in schema.items()}
        return {key: part for key, part in copied.items() if key not in left_out and self._can_match(key, part)}

    def _follow(self, schema: Any, root: Json, seen: list[int], above: tuple[str, ...] = ()) -> None:
        """Undeclarable when a reference leads to no part of the schema, or all of them make it too large."""
        seen[0] += 1
        if seen[0] > _MOST_PARTS or len(above) > _DEEPEST:
            raise Undeclarable("its schema is too large")
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference not in above:
            target = part_at(root, reference)
            if id(target) not in self._places:
                raise Undeclarable(f"its schema refers to {reference[:100]}, which is no part of it")
            self._follow(target, root, seen, (*above, reference))
        for part in _parts(schema):
            self._follow(part, root, seen, above)

    def _can_match(self, key: str, pattern: Any) -> bool:
        """Whether it is another keyword, or a pattern that RE2 knows."""
        if key != "pattern" or not isinstance(pattern, str):
            return True
        options = re2.Options()
        options.max_mem, options.log_errors = _PATTERN_MEMORY, False
        try:
            self._patterns[pattern] = re2.compile(pattern, options)
        except (re2.error, UnicodeEncodeError):
            return False
        return True

    def _match(self, validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
        self._look_at_clock()
        if isinstance(instance, str) and not self._patterns[pattern].search(
            instance.encode("utf-8", "replace").decode()
        ):
            yield jsonschema.ValidationError("it does not match")

    def _timed(self, check: _Keyword) -> _Keyword:
        def timed(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
            self._look_at_clock()
            yield from check(validator, value, instance, schema) or ()

        return timed

    def _look_at_clock(self) -> None:
        if time.monotonic() > self._until:
            raise _TooSlow


def _values(value: Any) -> int:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return 1 + sum(map(_values, inner))


def _told(error: Any) -> str:
    place = error.json_path.removeprefix("$").lstrip(".") or "arguments"
    return f"{place}: {error.validator} {error.validator_value}"


def _parts(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The schemas in a schema, as `_replaced` has them."""
    found: list[Any] = []
    for key, value in schema.items():
        _replaced(key, value, found.append)
    yield from (part for part in found if isinstance(part, Mapping))


def _replaced(key: str, value: Any, replace: Callable[[Any], Any]) -> Any:
    """What a keyword has, with the schemas in it replaced."""
    if key in _DATA:
        return value
    if isinstance(value, list):
        return [replace(part) for part in value]
    if not isinstance(value, Mapping):
        return value
    return {name: replace(part) for name, part in value.items()} if key in _OF_NAMES else replace(value)
