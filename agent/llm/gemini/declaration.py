"""A tool as Gemini is told of it: what the library makes of it, and whether Gemini takes that.

Gemini refuses a request for one wrong declaration in it, and with it every turn of every caller. Its rules are those
of https://ai.google.dev/api/caching#Schema and of what has been seen to be refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from langchain_core.tools import BaseTool
from langchain_google_genai._function_utils import convert_to_genai_function_declarations

Json = dict[str, Any]

_NAME = re.compile(r"[A-Za-z_][\w.:-]{0,63}", re.ASCII)
_TYPES = ("STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT")


def declaration(tool: BaseTool) -> Json:
    """The function declaration in the JSON that Gemini gets. ValueError when it would refuse it."""
    made = convert_to_genai_function_declarations([tool])[0].function_declarations
    assert made  # noqa: S101 - for the type
    declared = made[0].model_dump(mode="json", by_alias=True, exclude_none=True)
    if faults := list(_faults(declared)):
        raise ValueError(f"Gemini would refuse it: {'; '.join(faults)}")
    return declared


def _faults(declared: Json) -> Iterator[str]:
    if not _NAME.fullmatch(declared.get("name", "")):
        yield "a function's name has letters, digits and _, at most 64"
    if not declared.get("description", "").strip():
        yield "a function needs a description"
    for name, schema in declared.get("parameters", {}).get("properties", {}).items():
        yield from _faults_of(schema, name)


def _faults_of(schema: Json, place: str) -> Iterator[str]:
    kind, alternatives = schema.get("type"), schema.get("anyOf", [])
    if kind not in _TYPES and not alternatives:
        yield f"{place} has no type"
    if kind == "ARRAY" and not schema.get("items"):
        yield f"{place} is a list of nothing that is known"
    if kind == "OBJECT" and not schema.get("properties"):
        yield f"{place} is an object without fields"
    if schema.get("enum") and (kind != "STRING" or not all(schema["enum"])):
        yield f"{place} is a choice of something other than texts"
    if not schema.get("properties", {}).keys() >= set(schema.get("required", ())):
        yield f"{place} requires a field that it does not have"
    for name, part in schema.get("properties", {}).items():
        yield from _faults_of(part, f"{place}.{name}")
    for part in [*alternatives, *filter(None, [schema.get("items")])]:
        yield from _faults_of(part, f"{place}[]")
