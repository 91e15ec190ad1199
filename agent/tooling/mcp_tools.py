"""The tools of MCP servers as the model is shown them, with the options of every other tool. Their results in words."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

import jsonschema  # type: ignore[import-untyped]
from langchain_core.tools import ToolException
from mcp import types

from agent.tooling.declaration import declare, restore, restoring
from agent.tooling.decorator import ToolOptions, VoiceTool, changes, check
from agent.tooling.foreign_schema import ForeignSchema
from agent.tooling.json_schema import Undeclarable
from agent.turns import without_note_marks

_UNAVAILABLE = "{} is unavailable at the moment, and nothing was done. Tell the caller, and go on without it."
_NOT_TEXT = "[Something that cannot be read out: {}.]"

Run = Callable[..., Awaitable[str]]


def tool_of(
    server: str, name: str, does: str, schema: dict[str, Any], options: ToolOptions, run: Run | None = None
) -> VoiceTool:
    """ValueError, KeyError or SchemaError when it cannot be offered."""
    checked = ForeignSchema(schema)
    shown = declare(json.loads(without_note_marks(json.dumps(schema))), strict=False)
    label = re.sub(r"\W|^(?=\d)", "_", name, flags=re.ASCII)[:64]
    check(label, options, shown["properties"])
    return VoiceTool(
        name=label, description=without_note_marks(does), args_schema=shown,
        coroutine=restoring(run, schema) if run else None, options=options,
        faults=lambda given: checked.too_many(given) or checked.faults(restore(given, schema), strict=changes(options)),
        metadata={"mcp": {"server": server, "name": name, "schema": schema, "manners": asdict(options)}},
    )  # fmt: skip


def why_not(name: str, error: Exception) -> str:
    if isinstance(error, Undeclarable):
        return f"tool {name!r}: {error}"
    return str(error) if type(error) is ValueError else f"{name}: its schema cannot be used"


def unavailable(name: str) -> ToolException:
    """What the model is told of a tool, or a server, that cannot be reached now."""
    return ToolException(_UNAVAILABLE.format(name))


def stand_in(server: str) -> VoiceTool:
    """Offered until the server has said what it has."""

    async def fail() -> str:
        raise unavailable(server)

    name, does = f"{server.replace('-', '_')}_unavailable", f"Tells that the service {server} cannot be reached now."
    return VoiceTool(
        name=name,
        description=without_note_marks(does),
        args_schema={"type": "object", "properties": {}},
        coroutine=fail,
    )


def in_words(result: types.CallToolResult) -> str:
    """The result as text. ToolException when the server says that it is an error."""
    texts = [getattr(getattr(part, "resource", part), "text", _NOT_TEXT.format(part.type)) for part in result.content]
    if result.structuredContent and not texts:
        texts = [json.dumps(result.structuredContent, ensure_ascii=False)]
    if result.isError:
        raise ToolException("\n".join(texts) or "It failed.")
    return "\n".join(texts)


def recorded_tools(offered: Mapping[str, Any]) -> list[VoiceTool]:
    """The MCP servers' tools among those that a run file says were offered: good for anything but being run.
    ValueError with a sentence when the file has something else there."""
    return [_recorded(label, tool) for label, tool in offered.items() if tool.get("mcp")]


def _recorded(label: str, tool: Mapping[str, Any]) -> VoiceTool:
    about = tool["mcp"]
    try:
        options = ToolOptions(**about["manners"])
        return tool_of(about["server"], about["name"], tool["description"], about["schema"], options)
    except (ValueError, KeyError, TypeError, AttributeError, jsonschema.SchemaError) as error:
        why = f": {error}" if isinstance(error, Undeclarable) else ""
        raise ValueError(f"It offers a tool {label!r} that cannot be used{why}.") from error
