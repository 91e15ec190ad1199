"""What stands in the memory as the result of a tool call that has none of its own, in words for the model."""

from __future__ import annotations

from agent.storage.entries import ToolCallRecord

STILL_RUNNING = "Still running. The result will stand here when it is there; do not call this again for it."
UNKNOWN = (
    "It is unknown whether this happened: the system was restarted while it ran."
    " Do not repeat it before the caller has been told so and has agreed."
)
NOT_STARTED = "Not started: the turn was broken off first. Nothing was done."
STOPPED = "{name} was stopped, as the caller interrupted. It has no result."
GIVEN_UP = "{name} was stopped, as the turn had lasted too long. It has no result."


def result_of(call: ToolCallRecord) -> str:
    """What the model is told of a journalled call."""
    return UNKNOWN if call.result is None else call.result


def was_stopped(name: str, result: str | None) -> bool:
    """Whether this is the result of a call that did not end by itself: an interruption or a deadline ended it."""
    return result in (STOPPED.format(name=name), GIVEN_UP.format(name=name))
