"""A tool's own look at a call, before the call is run or the caller is asked: `@voice_tool(check=...)`."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Mapping
from typing import Any

from langchain_core.tools import ToolException

from agent.failures import log_failure
from agent.json_values import replace_surrogates, to_json
from agent.storage import NOT_STARTED
from agent.tooling.arguments import Refused, values_of
from agent.tooling.call import ToolCall
from agent.tooling.decorator import Check, ToolContext, VoiceTool, use_context
from agent.turns import Turn

log = logging.getLogger(__name__)

_SECONDS = 3.0
_LONGEST = 2_000  # characters of a refusal
_UNCHECKED = "{name} was not started: it could not be checked whether it can be done. Nothing was done."


async def check_call(turn: Turn, tool_call: ToolCall, context: ToolContext) -> Mapping[str, Any] | None:
    """Arguments that the tool puts in place of the call's own. Refused in the tool's words, or in ours when the check
    fails, is not over in time, or the caller interrupts. The turn keeps what came of it, for replay."""
    look = tool_call.tool.check if isinstance(tool_call.tool, VoiceTool) else None
    if look is None:
        return None
    try:
        changed = to_json(dict(await _look(turn, tool_call, look, context) or {}))
    except Refused as why:
        turn.checks[tool_call.key] = {"refused": str(why)}
        raise
    turn.checks[tool_call.key] = {"arguments": changed}
    return dict(changed)


async def _look(turn: Turn, tool_call: ToolCall, look: Check, context: ToolContext) -> Any:
    unchecked = Refused(_UNCHECKED.format(name=tool_call.tool.name))
    try:
        async with asyncio.timeout_at(min(turn.now() + _SECONDS, turn.deadline)) as limit:
            with turn.stoppable(limit), use_context(context):
                return await look(**_wanted(tool_call, look))  # type: ignore[misc]
    except ToolException as why:
        raise Refused(replace_surrogates(str(why)[:_LONGEST])) from None
    except TimeoutError as error:
        if turn.interrupted:
            raise Refused(NOT_STARTED) from None
        log_failure(log, f"the check of tool {tool_call.tool.name} was not over in time", error)
        raise unchecked from None
    except Exception as error:  # noqa: BLE001 - the author's code: whatever it is, the call is not run
        log_failure(log, f"the check of tool {tool_call.tool.name} failed", error)
        raise unchecked from None


def _wanted(tool_call: ToolCall, look: Check) -> dict[str, Any]:
    """The arguments that the check takes, as the tool's function would get them."""
    values, takes = values_of(tool_call.tool, tool_call.arguments), inspect.signature(look).parameters.values()
    if any(one.kind is one.VAR_KEYWORD for one in takes):
        return values
    return {one.name: values[one.name] for one in takes if one.name in values}


def recorded_outcome(outcome: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """What `check_call` did then. outcome: as the turn kept it; None when there was no check."""
    if outcome and "refused" in outcome:
        raise Refused(outcome["refused"])
    return outcome["arguments"] if outcome else None
