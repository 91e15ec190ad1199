"""LangChain's own tools, as tools of ours: with the default options, and told and checked as ours are."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool, Tool, ToolException
from pydantic import create_model

from agent.tooling.declaration import declare, restoring
from agent.tooling.decorator import ToolOptions, VoiceTool, check
from agent.tooling.json_schema import Undeclarable
from agent.tooling.sandbox import Call, isolated
from agent.tooling.signature import refuse_function, refuse_parameters, told

_RETURN_DIRECT = (
    "return_direct is not supported, as the model puts each result into words: remove it, and speak what must be"
    " heard as it stands with say()"
)


def adopt(tool: BaseTool) -> VoiceTool:
    """The tool, ready to be offered. ValueError, with what to write instead, when it cannot be."""
    if isinstance(tool, VoiceTool):
        if tool.fault:
            raise Undeclarable(tool.fault)
        return tool
    check(tool.name, ToolOptions(), ())
    if tool.return_direct:
        raise Undeclarable(_RETURN_DIRECT)
    if not tool.description.strip():
        raise Undeclarable("it needs a description: it tells the model when to use the tool")
    function = _function_of(tool)
    refuse_function(function)
    schema = tool.args_schema
    if isinstance(tool, StructuredTool) and not _takes_any(function, tool):
        refuse_parameters(function)
    arguments = declare(schema) if isinstance(schema, dict) else told(_arguments(tool))
    call = isolated(function)
    return VoiceTool(
        name=tool.name,
        description=tool.description,
        args_schema=arguments,
        coroutine=_explained(tool, restoring(call, schema) if isinstance(schema, dict) else call),
        response_format=tool.response_format,
        extras=tool.extras,
        faults=_missing(schema) if isinstance(schema, dict) else None,
    )


def _function_of(tool: BaseTool) -> Callable[..., Any]:
    """What runs a call: with the arguments by name, async or not."""
    if isinstance(tool, StructuredTool | Tool):
        function = tool.coroutine or tool.func
        if function is None:
            raise Undeclarable("it has no function to run")
        return _of_one_text(function) if isinstance(tool, Tool) else function
    return tool._run if type(tool)._arun is BaseTool._arun else tool._arun


def _takes_any(function: Callable[..., Any], tool: StructuredTool) -> bool:
    """Whether its arguments are described by a schema of their own, and it takes them as they come."""
    kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]
    return inspect.Parameter.VAR_KEYWORD in kinds and "kwargs" not in tool.args


def _of_one_text(function: Callable[..., Any]) -> Callable[..., Any]:
    """LangChain's `Tool` has one argument, of any name: a text."""

    @wraps(function)
    async def call(tool_input: str) -> Any:
        return await function(tool_input)

    @wraps(function)
    def call_sync(tool_input: str) -> Any:
        return function(tool_input)

    return call if inspect.iscoroutinefunction(function) else call_sync


def _arguments(tool: BaseTool) -> type[Any]:
    if isinstance(tool, Tool) and tool.args_schema is None:
        return create_model(tool.name, tool_input=(str, ...))
    return tool.get_input_schema()


def _explained(tool: BaseTool, call: Call) -> Call:
    """A ToolException with the text that the tool's `handle_tool_error` makes of it."""
    handler = tool.handle_tool_error
    if isinstance(handler, bool) or not handler:
        return call

    @wraps(call)
    async def explained(*args: Any, **kwargs: Any) -> Any:
        try:
            return await call(*args, **kwargs)
        except ToolException as error:
            raise ToolException(handler(error) if callable(handler) else handler) from error

    return explained


def _missing(schema: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], list[str]]:
    """Finds the arguments that a JSON schema requires and a call has not."""
    required = declare(schema).get("required", [])
    return lambda arguments: [f"{name}: Field required" for name in required if name not in arguments]
