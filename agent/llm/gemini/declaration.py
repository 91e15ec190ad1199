"""A tool as Gemini is told of it, and whether Gemini takes that.

The library's own conversion is not used: it calls every field required that stands two levels down, and forgets all
but the last of the alternatives in a list.

Gemini refuses a request for one wrong declaration in it, and with it every turn of every caller. Its rules are those
of https://ai.google.dev/api/caching#Schema and of what has been seen to be refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from google.genai import types
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

Json = dict[str, Any]

_NAME = re.compile(r"[A-Za-z_][\w.:-]{0,63}", re.ASCII)
_TYPES = ("STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT")
_KEPT = ("description", "enum", "required")


def declared_tools(tools: list[BaseTool]) -> list[types.Tool]:
    """The tools as Gemini's client takes them. ValueError when it does not."""
    return [types.Tool(function_declarations=[_function(tool) for tool in tools])]


def declaration(tool: BaseTool) -> Json:
    """The function declaration in the JSON that Gemini gets. ValueError when it would refuse it."""
    declared = _function(tool).model_dump(mode="json", by_alias=True, exclude_none=True)
    if faults := list(_faults(declared)):
        raise ValueError(f"Gemini would refuse it: {'; '.join(faults)}")
    return declared


def _function(tool: BaseTool) -> types.FunctionDeclaration:
    """Without parameters where there are none: an object must have fields."""
    told = convert_to_openai_tool(tool)["function"]
    parameters = told.get("parameters", {})
    schema = types.Schema.model_validate(_schema(parameters)) if parameters.get("properties") else None
    return types.FunctionDeclaration(name=told["name"], description=told["description"], parameters=schema)


def _schema(told: Mapping[str, Any]) -> Json:
    made: Json = {key: told[key] for key in _KEPT if told.get(key)}
    if "type" in told:
        made["type"] = str(told["type"]).upper()
    if "items" in told:
        made["items"] = _schema(told["items"])
    if "properties" in told:
        made["properties"] = {name: _schema(part) for name, part in told["properties"].items()}
    if "anyOf" in told:
        made["any_of"] = [_schema(part) for part in told["anyOf"]]
    return made


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
