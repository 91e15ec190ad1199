"""Ending a call, or handing it to a person. Offered on platforms that can.

Whom a call can be transferred to stands in `TRANSFER_TO`, JSON of names and numbers: {"reception": "+493012345678"}.
The model chooses a name, and never makes up a number.
"""

from __future__ import annotations

import json
import os

from langchain_core.tools import ToolException

from agent import hang_up, transfer, voice_tool


@voice_tool(needs="hang_up")
async def end_call(reason: str = "") -> str:
    """End the phone call, when the caller has said goodbye or wants to hang up. Say goodbye in the same answer, before
    you call this.

    reason: why, in a few words, such as "done".
    """
    hang_up(reason)
    return "The call ends after your words. Say a short goodbye now if you have not."


@voice_tool(needs="transfer")
async def transfer_to_person(name: str, reason: str = "") -> str:
    """Hand the call over to a person, when the caller asks for one or needs help that you cannot give. Tell the caller
    first, in the same answer.

    name: who or which department, as the caller says it.
    reason: what the caller needs, in one sentence, for the person who takes over.
    """
    numbers = _numbers()
    number = next((numbers[known] for known in numbers if known.casefold() == name.strip().casefold()), None)
    if number is None:
        known = ", ".join(numbers) or "nobody: the call cannot be transferred"
        raise ToolException(f"Not transferred. A call can be transferred to: {known}.")
    transfer(number, reason)
    return "The call is transferred after your words."


def _numbers() -> dict[str, str]:
    try:
        numbers = json.loads(os.environ.get("TRANSFER_TO") or "{}")
    except ValueError:
        raise ToolException('Not transferred: TRANSFER_TO is not JSON such as {"reception": "+49…"}.') from None
    return numbers if isinstance(numbers, dict) else {}
