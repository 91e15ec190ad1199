"""The texts by which memories and journals of commit 9e9e8b3 and before are understood.

Since then what the system says in a tool's place carries a marker. Nothing here is changed or added to.
"""

from __future__ import annotations

from typing import Literal

_TEXTS: dict[str, Literal["running", "unknown"]] = {
    "Still running. The result will stand here when it is there; do not call this again for it.": "running",
    "It is unknown whether this happened: the system was restarted while it ran."
    " Do not repeat it before the caller has been told so and has agreed.": "unknown",
}
_STOPPED = (
    "{name} was stopped, as the caller interrupted. It has no result.",
    "{name} was stopped, as the turn had lasted too long. It has no result.",
)


def marker_of_text(text: str, name: str | None) -> Literal["running", "unknown", "stopped"] | None:
    """What a result of the tool `name` stands for, if it is one of the system's of then."""
    if text in (stopped.format(name=name) for stopped in _STOPPED):
        return "stopped"
    return _TEXTS.get(text)
