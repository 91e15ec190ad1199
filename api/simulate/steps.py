"""What a caller does in a scenario, step by step.

Times are seconds, written `8s`, `500ms` or `2m`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|m)")
_WORDS = re.compile(r"(\d+) words?")
_DIGITS = re.compile(r"[0-9*#]+")


def _seconds(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and (found := _DURATION.fullmatch(value.strip())):
        return float(found[1]) * _UNITS[found[2]]
    raise ValueError("write a time such as 8s, 500ms or 2m")


Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0, allow_inf_nan=False)]


class Words(int):
    """A number of words that were heard."""


def _moment(value: Any) -> Words | float:
    if isinstance(value, str) and (found := _WORDS.fullmatch(value.strip())):
        return Words(found[1])
    if isinstance(value, str) and (found := _DURATION.fullmatch(value.strip())):
        return float(found[1]) * _UNITS[found[2]]
    raise ValueError("write how much of the answer is heard, such as 4 words or 2s")


Moment = Annotated[Any, BeforeValidator(_moment)]
"""`Words`, or seconds since the answer's first word."""


STRICT = ConfigDict(extra="forbid", coerce_numbers_to_str=True, frozen=True)


class _Step(BaseModel):
    model_config = STRICT


def _words(text: str) -> str:
    if not text.strip():
        raise ValueError("write what the caller says; one who says nothing is silence: 2s")
    return text


class Say(_Step):
    """The caller speaks. interrupt_after: what comes next in the script comes once so much of the answer was heard,
    and not after its end. duplicate: the platform sends these words twice, the second time while they are answered.
    pause: seconds before it."""

    say: Annotated[str, AfterValidator(_words)]
    interrupt_after: Moment | None = None
    duplicate: bool = False
    pause: Seconds = 0.6


class Silence(_Step):
    """The caller says nothing for so long."""

    silence: Seconds


class Dtmf(_Step):
    """The caller presses keys."""

    dtmf: str = Field(pattern=_DIGITS.pattern)
    interrupt_after: Moment | None = None


class Duplicate(_Step):
    """The platform sends the caller's last words once more, after they were answered. It comes after some words."""

    duplicate: Literal[True]


class HangUp(_Step):
    """The caller hangs up. Nothing comes after it."""

    hang_up: Literal[True]


_STEPS = ("say", "silence", "dtmf", "hang_up", "duplicate")
STEP_FORMS = 'words to say, or one of say:, silence: 8s, dtmf: "1#", duplicate, hang_up'


def _in_full(value: Any) -> Any:
    """A step in its short form: words, or a name."""
    if isinstance(value, str):
        return {value: True} if value in ("hang_up", "duplicate") else {"say": value}
    return value


def _kind_of_step(value: Any) -> str | None:
    if isinstance(value, BaseModel):
        value = dict(value)
    return next((f"a {kind}" for kind in _STEPS if kind in value), None) if isinstance(value, dict) else None


Step = Annotated[
    Annotated[Say, Tag("a say")]
    | Annotated[Silence, Tag("a silence")]
    | Annotated[Dtmf, Tag("a dtmf")]
    | Annotated[HangUp, Tag("a hang_up")]
    | Annotated[Duplicate, Tag("a duplicate")],
    Discriminator(
        _kind_of_step, custom_error_type="step", custom_error_message=f"a step of the caller's is {STEP_FORMS}"
    ),
    BeforeValidator(_in_full),
]
