"""The file that names MCP servers: the form other MCP clients read, with keys of our own for their tools.

    {"mcpServers": {"flights": {
        "url": "https://flights.example/mcp", "headers": {"Authorization": "Bearer ${FLIGHTS_KEY}"},
        "only": ["search", "book"],
        "tools": {"book": {"confirm": "Book flight {flight}?"}, "*": {"timeout": 10}}}}}

`only`: the tools that are offered. `tools`: the options of `@voice_tool` for each; those under `*` hold for all.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import TypedDict

from agent.tooling.decorator import OnBargeIn, ToolOptions

_VARIABLE = re.compile(r"\$\{(\w+)\}")

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,30}$")]
Line = str | dict[str, str]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class McpFileError(Exception):
    """The file cannot be used. The text has a line for each fault."""


class Options(TypedDict, total=False):
    """A tool's options. confirm: false lets a destructive tool run without a question."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    say: Line
    slow: Line | list[Line]
    slow_after: Seconds
    timeout: Seconds
    on_barge_in: OnBargeIn
    confirm: Line | Literal[False]
    at_once: Annotated[int, Field(ge=1)]


class ServerConfig(BaseModel):
    """One server: a command to run, or a URL. type: `sse` for servers with the old transport; else not needed."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["stdio", "http", "streamable-http", "sse"] | None = None
    command: str | None = None
    args: list[str] = []
    env: dict[str, str] = Field(default={}, repr=False)
    url: str | None = Field(default=None, repr=False)
    headers: dict[str, str] = Field(default={}, repr=False)
    disabled: bool = False
    only: list[str] | None = None
    tools: dict[str, Options] = {}

    @model_validator(mode="after")
    def _one_way(self) -> ServerConfig:
        if bool(self.command) == bool(self.url):
            raise ValueError("it needs either a `command` or a `url`")
        return self

    def options_of(self, tool: str) -> Options:
        return {**self.tools.get("*", {}), **self.tools.get(tool, {})}

    def tool_options(self, tool: str, *, reads: bool) -> ToolOptions:
        """One that only reads may be stopped when the caller interrupts, unless the file says otherwise."""
        options: dict[str, Any] = {"on_barge_in": "cancel" if reads else "finish", **self.options_of(tool)}
        return ToolOptions(**{**options, "confirm": options.get("confirm") or None})


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    mcpServers: dict[Name, ServerConfig]


def load_servers(path: Path) -> dict[str, ServerConfig]:
    """The servers by name, without disabled ones. McpFileError when anything in the file is wrong."""
    missing: set[str] = set()
    try:
        content = _filled(json.loads(path.read_text(encoding="utf-8")), missing)
        file = _File.model_validate(content)
    except OSError as error:
        raise McpFileError(f"MCP_SERVERS={path} cannot be read: {error.strerror}.") from None
    except ValidationError as error:
        raise McpFileError("\n".join(f"MCP_SERVERS={path}: {fault}" for fault in _faults(error))) from None
    except (ValueError, RecursionError) as error:
        line = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise McpFileError(f"MCP_SERVERS={path}{line}: this is not JSON: mend it.") from None
    if missing:
        names = ", ".join(sorted(missing))
        raise McpFileError(f"MCP_SERVERS={path} uses variables that are not set: {names}. Set them in .env.")
    return {name: server for name, server in file.mcpServers.items() if not server.disabled}


def _filled(value: Any, missing: set[str]) -> Any:
    """The values with `${NAME}` replaced from the environment. `missing` gets the names that are not there."""
    if isinstance(value, str):
        missing |= {name for name in _VARIABLE.findall(value) if name not in os.environ}
        return _VARIABLE.sub(lambda match: os.environ.get(match[1], match[0]), value)
    if isinstance(value, dict):
        return {key: _filled(item, missing) for key, item in value.items()}
    return [_filled(item, missing) for item in value] if isinstance(value, list) else value


def _faults(error: ValidationError) -> Iterator[str]:
    """A sentence for each, without the values: they may be secrets."""
    for fault in error.errors():
        place, what = ".".join(str(part) for part in fault["loc"]) or "the file", fault["msg"]
        if fault["type"] == "extra_forbidden":
            what = "there is no such key here: remove it, or mend its name"
        yield f"{place}: {what.removeprefix('Value error, ')}."
