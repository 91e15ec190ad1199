"""Reading of a JSON Schema: references, alternatives, and several schemas at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]


class Undeclarable(ValueError):
    """The model cannot be told of this. The text says of what, why, and what to write instead."""


class Schemas:
    """Reads schemas that refer to the definitions of `root`."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def options(self, schema: Any) -> list[Json]:
        """The alternatives, without null: each with a type of its own, or none, and with what stands beside them."""
        schema = self._resolved(schema if isinstance(schema, Mapping) else {})
        if isinstance(types := schema.get("type"), list):
            return [{**schema, "type": one} for one in types if one != "null"]
        for key in ("anyOf", "oneOf"):
            if key in schema:
                beside = {name: value for name, value in schema.items() if name not in (key, "discriminator")}
                return [{**beside, **option} for part in schema[key] for option in self.options(part)]
        return [] if schema.get("type") == "null" else [schema]

    def takes_null(self, schema: Any) -> bool:
        schema = self._resolved(schema if isinstance(schema, Mapping) else {})
        return (
            "null" in (schema.get("type") or ())
            or None in schema.get("enum", ())
            or any(self.takes_null(part) for key in ("anyOf", "oneOf") for part in schema.get(key, ()))
        )

    def _resolved(self, schema: Mapping[str, Any]) -> Json:
        """Without references, and as one where it is several at once. `const` is an `enum` of one."""
        merged = {key: value for key, value in schema.items() if key not in ("$ref", "allOf", "const")}
        parts = [self._definition(schema["$ref"])] if "$ref" in schema else []
        for part in map(self._resolved, [*parts, *schema.get("allOf", ())]):
            both = {key: {**part[key], **merged[key]} for key in ("properties",) if part.get(key) and merged.get(key)}
            merged = {**part, **merged, **both}
        return {**merged, "enum": [schema["const"]]} if "const" in schema else merged

    def refuse_endless(self, schema: Any, above: tuple[str, ...] = ()) -> None:
        """Undeclarable when something has itself in it, as a tree does."""
        if isinstance(schema, list):
            for part in schema:
                self.refuse_endless(part, above)
        if not isinstance(schema, Mapping):
            return
        reference = schema.get("$ref")
        if isinstance(reference, str):
            if reference in above:
                name = reference.rpartition("/")[2]
                raise Undeclarable(f"{name} has itself in it, which cannot be told to the model: end it at some depth")
            self.refuse_endless(self._definition(reference), (*above, reference))
        for key, part in schema.items():
            if key not in ("$defs", "definitions"):
                self.refuse_endless(part, above)

    def _definition(self, reference: str) -> Mapping[str, Any]:
        found = part_at(self._root, reference)
        if not isinstance(found, Mapping) or found is self._root:
            raise Undeclarable(f"its schema refers to {reference}, which is no part of it")
        return found


def part_at(root: Any, reference: str) -> Any:
    """What a reference such as `#/$defs/Day` leads to; None where that is nothing, or another document."""
    if not reference.startswith("#"):
        return None
    for step in filter(None, reference.removeprefix("#").split("/")):
        key = step.replace("~1", "/").replace("~0", "~")
        root = root.get(key) if isinstance(root, Mapping) else None
    return root


def items_of(schema: Mapping[str, Any]) -> list[Any]:
    """What the items of an array may be: one schema, or one for each place."""
    places = schema.get("prefixItems") or (schema["items"] if isinstance(schema.get("items"), list) else [])
    return list(places) or [schema.get("items") or {}]


def is_map(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "object" and not schema.get("properties")


def required_of(schema: Mapping[str, Any], schemas: Schemas) -> Json:
    """What may be null need not be given."""
    properties = schema.get("properties", {})
    names = [name for name in schema.get("required", ()) if not schemas.takes_null(properties.get(name))]
    return {"required": names} if names else {}
