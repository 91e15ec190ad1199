"""A scenario: a caller, the world around them, and what must hold. These models are the schema of its file.

Times are seconds, written `8s`, `500ms` or `2m`.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    model_validator,
)

from api.simulate.verdict import Verdict

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


def _known(name: str, info: ValidationInfo) -> str:
    """Where the tools are known, one of them."""
    tools = (info.context or {}).get("tools")
    if tools is not None and name not in tools:
        close = get_close_matches(name, tools, n=1)
        raise ValueError(f"there is no such tool{f', write {close[0]}' if close else ''}")
    return name


ToolName = Annotated[str, AfterValidator(_known)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True, frozen=True)


# The caller


class Say(_Model):
    """The caller speaks. interrupt_after: what comes next in the script comes once so much of the answer was heard,
    and not after its end. duplicate: the platform sends these words twice, the second time while they are answered.
    pause: seconds before it."""

    say: str
    interrupt_after: Moment | None = None
    duplicate: bool = False
    pause: Seconds = 0.6


class Silence(_Model):
    """The caller says nothing for so long."""

    silence: Seconds


class Dtmf(_Model):
    """The caller presses keys."""

    dtmf: str = Field(pattern=_DIGITS.pattern)
    interrupt_after: Moment | None = None


class Duplicate(_Model):
    """The platform sends the caller's last words once more, after they were answered."""

    duplicate: Literal[True]


class HangUp(_Model):
    """The caller hangs up. Nothing comes after it."""

    hang_up: Literal[True]


_STEPS = ("say", "silence", "dtmf", "hang_up", "duplicate")
_STEP_FORMS = 'words to say, or one of say:, silence: 8s, dtmf: "1#", duplicate, hang_up'


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
        _kind_of_step, custom_error_type="step", custom_error_message=f"a step of the caller's is {_STEP_FORMS}"
    ),
    BeforeValidator(_in_full),
]


class Persona(_Model):
    """A caller played by a model. knows: facts that they can give when asked. manner: temper and habits."""

    goal: str
    knows: list[str] = []
    manner: list[str] = []
    language: str = ""
    turns: int = Field(20, ge=1, description="at most")


# The world


class ToolAnswer(_Model):
    """What a tool does in place of its own function. result: what it returns. fails: what it tells the model when it
    refuses; `true` for an error that it does not handle. times_out: it never ends. real: its own function runs, without
    network. when: for calls with these arguments only. after: how long it takes."""

    result: Any = None
    fails: str | Literal[True] | None = None
    times_out: Literal[True] | None = None
    real: Literal[True] | None = None
    when: dict[str, Any] = {}
    after: Seconds = 0.1

    @model_validator(mode="after")
    def _is_one_thing(self) -> ToolAnswer:
        if len({"result", "fails", "times_out", "real"} & self.model_fields_set) != 1:
            raise ValueError(f"write what the tool does, one of {_ANSWER_FORMS}")
        return self


_ANSWER_FORMS = "result: …, fails: words or true, times_out: true, real: true"


def _as_answers(value: Any) -> Any:
    """One answer for every call, or the short form of one: its result."""
    answers = value if isinstance(value, list) else [value]
    return [answer if isinstance(answer, dict | ToolAnswer) else {"result": answer} for answer in answers]


Platform = Literal["layercode"]


class World(_Model):
    """What the agent finds. platform: whose wire the call comes over. date: as the prompt is told it. caller: their
    phone number. metadata: of the call. tools: by name, what they do; a list is for one call after the other, of which
    the last stays."""

    platform: Platform = "layercode"
    date: str = "Monday, 2 March 2026"
    caller: str | None = None
    metadata: dict[str, Any] = {}
    tools: dict[ToolName, Annotated[list[ToolAnswer], Field(min_length=1), BeforeValidator(_as_answers)]] = {}


# The model


class ModelAnswer(_Model):
    """One answer of a scripted model: words, calls of tools, or both. call: {tool: arguments}; several, also in a list,
    are made at once. after: seconds to its first word. fails: the model is down."""

    say: str = ""
    call: list[dict[str, dict[str, Any]]] = []
    after: Seconds = 0.4
    fails: Literal[True] | None = None

    @model_validator(mode="before")
    @classmethod
    def _in_full(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"say": value}
        if isinstance(value, dict) and isinstance(value.get("call"), dict):
            return {**value, "call": [value["call"]]}
        return value

    @model_validator(mode="after")
    def _says_something(self) -> ModelAnswer:
        if not (self.say or self.call or self.fails):
            raise ValueError("write what the model answers: words, call: {tool: {argument: value}}, or fails: true")
        return self

    @property
    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        return [call for step in self.call for call in step.items()]


class Recording(_Model):
    """The answers of the model in a run file, in their order. A path beside the scenario's file."""

    recording: Path


def _kind_of_model(value: Any) -> str | None:
    return "a script" if isinstance(value, list) else "a recording" if isinstance(value, dict | Recording) else None


Model = Annotated[
    Annotated[list[ModelAnswer], Tag("a script")] | Annotated[Recording, Tag("a recording")],
    Discriminator(
        _kind_of_model,
        custom_error_type="model",
        custom_error_message="write a list of the model's answers, or recording: FILE.json",
    ),
]


# What must hold


def _times(value: Any) -> Any:
    if value in get_args(Often) or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise ValueError(f"write {', '.join(get_args(Often))}, or a number")


Often = Literal["once", "at most once", "at least once", "never"]


class ExpectedCall(_Model):
    """How often a tool ran with these arguments; others that it got do not count, but with `exactly`."""

    tool: ToolName
    arguments: dict[str, Any] = {}
    exactly: bool = False
    times: Annotated[Often | int, BeforeValidator(_times)] = "once"


class Expect(_Model):
    """calls: what ran. in_order: in the order of that list. no_other_calls: and nothing beside it. heard, not_heard:
    words, in the whole call. first_words: the most seconds until the agent speaks. silence: the most seconds without
    words in an answer. ends: who ended the call. apology: the agent is to apologise for a fault."""

    calls: list[ExpectedCall] = []
    in_order: bool = False
    no_other_calls: bool = False
    heard: list[str] = []
    not_heard: list[str] = []
    first_words: Seconds | None = None
    silence: Seconds = 15.0
    ends: Literal["hung up by the agent", "transferred", "hung up by the caller", "open"] | None = None
    apology: bool = False


class Scenario(_Model):
    """A caller, by script or as a persona; the world; the model's answers, if they are scripted; what must hold.

    judge: what shall hold, in plain sentences, of which a model judges. verdicts: what it says, if it is scripted.
    at_most: how long the call may last.
    """

    about: str = ""
    caller: list[Step] = []
    persona: Persona | None = None
    world: World = World()
    model: Model | None = None
    expect: Expect = Expect()
    judge: list[str] = []
    verdicts: list[Verdict] | None = None
    at_most: Seconds = 600.0

    @model_validator(mode="after")
    def _has_a_caller(self) -> Scenario:
        if bool(self.caller) == bool(self.persona):
            raise ValueError(f"write who calls: either caller:, a list of {_STEP_FORMS}; or persona:")
        return self

    @model_validator(mode="after")
    def _fits_its_platform(self) -> Scenario:
        if any(isinstance(step, Dtmf) for step in self.caller):
            raise ValueError(f"a call over {self.world.platform} does not tell which keys are pressed: leave out dtmf:")
        return self

    @model_validator(mode="after")
    def _has_a_verdict_on_each(self) -> Scenario:
        if self.verdicts is not None and len(self.verdicts) != len(self.judge):
            raise ValueError(f"write one verdict for each criterion under judge: {len(self.judge)} of them")
        return self

    @property
    def needs_model(self) -> bool:
        """Whether it cannot be held without a live model."""
        return self.persona is not None or self.model is None or bool(self.judge and self.verdicts is None)
