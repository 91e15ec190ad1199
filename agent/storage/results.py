"""What stands in the memory as the result of a tool call that has none of its own, in words for the model.

The words may be changed: which of them stands there is known by the message's marker, and by the journal's `state`.
"""

from __future__ import annotations

from agent.storage.entries import ToolCallRecord
from agent.turns import Marker, marker_of_text

STILL_RUNNING = "Still running. The result will stand here when it is there; do not call this again for it."
UNKNOWN = (
    "It is unknown whether this happened: the system was restarted while it ran."
    " Do not repeat it before the caller has been told so and has agreed."
)
SAME_CALL = "The same call was made twice in this step, and was run once: its result stands with the other, or will."
NOT_STARTED = "Not started: the turn was broken off first. Nothing was done."
STOPPED = "{name} was stopped, as the caller interrupted. It has no result."
GIVEN_UP = "{name} was stopped, as the turn had lasted too long. It has no result."


def result_of(call: ToolCallRecord) -> tuple[str, Marker | None]:
    """What the model is told of a journalled call, and the marker of that."""
    if call.state == "running":
        return STILL_RUNNING, "running"
    if call.result is None:
        return UNKNOWN, "unknown"
    return call.result, "stopped" if was_stopped(call.name, call.state, call.result) else None


def was_stopped(name: str, state: str, result: str | None) -> bool:
    """Whether a journalled call did not end by itself: an interruption or a deadline ended it."""
    return state == "stopped" or (state == "failed" and marker_of_text(result or "", name) == "stopped")
