"""A scenario: a caller, the world around them, and what must hold. These models are the schema of its file, with those
of the caller's steps."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from agent.memory import CONFIRM
from api.platforms import CLIENTS
from api.simulate.steps import STEP_FORMS, STRICT, Dtmf, Duplicate, Say, Seconds, Step
from api.simulate.verdict import Verdict


def _known(name: str, info: ValidationInfo) -> str:
    """Where the tools are known, one of them."""
    tools = (info.context or {}).get("tools")
    if tools is not None and name not in tools:
        close = get_close_matches(name, tools, n=1)
        raise ValueError(f"there is no such tool{f', write {close[0]}' if close else ''}")
    return name


def _known_to_the_model(name: str, info: ValidationInfo) -> str:
    """One of them, or the call that answers a question."""
    return name if name == CONFIRM else _known(name, info)


ToolName = Annotated[str, AfterValidator(_known)]
CalledName = Annotated[str, AfterValidator(_known_to_the_model)]


class _Model(BaseModel):
    model_config = STRICT


# The caller


class Persona(_Model):
    """A caller played by a model. knows: facts that they can give when asked. manner: temper and habits."""

    goal: str
    knows: list[str] = []
    manner: list[str] = []
    language: str = ""
    turns: int = Field(20, ge=1, description="at most")


# The world


class ToolAnswer(_Model):
    """What a tool does in place of its own function. result: what it returns. transfer: to whom it has the call
    transferred, with a result. fails: what it tells the model when it
    refuses; `true` for an error that it does not handle. times_out: it never ends. real: its own function runs, without
    network. when: for calls with these arguments only. after: how long it takes."""

    result: Any = None
    fails: str | Literal[True] | None = None
    times_out: Literal[True] | None = None
    real: Literal[True] | None = None
    transfer: str | None = None
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


def _platform(name: str) -> str:
    if name not in CLIENTS:
        raise ValueError(f"write one of {', '.join(CLIENTS)}")
    return name


Platform = Annotated[str, AfterValidator(_platform)]


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
    call: list[dict[CalledName, dict[str, Any]]] = []
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
    """A caller, by script, as a persona, or both: then the script is for want of a live model; the world; the model's
    answers, if they are scripted; what must hold.

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

    @field_validator("caller")
    @classmethod
    def _repeats_something(cls, steps: list[Step]) -> list[Step]:
        kinds = [type(step) for step in steps]
        if Duplicate in kinds and Say not in kinds[: kinds.index(Duplicate)]:
            raise ValueError("duplicate sends the caller's last words once more: put it after some")
        return steps

    @model_validator(mode="before")
    @classmethod
    def _without_what_is_empty(cls, value: Any) -> Any:
        return {name: one for name, one in value.items() if one is not None} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _has_a_caller(self) -> Scenario:
        if not (self.caller or self.persona):
            raise ValueError(f"write who calls: caller:, a list of {STEP_FORMS}; or persona:; or both")
        return self

    @model_validator(mode="after")
    def _fits_its_platform(self) -> Scenario:
        if self.world.platform != "relay" and any(isinstance(step, Dtmf) for step in self.caller):
            raise ValueError("keys are pressed on a phone: write world: platform: relay, or leave out dtmf:")
        return self

    @field_validator("verdicts")
    @classmethod
    def _has_one_for_each(cls, verdicts: list[Verdict] | None, info: ValidationInfo) -> list[Verdict] | None:
        criteria = info.data.get("judge", [])
        if verdicts is not None and len(verdicts) != len(criteria):
            raise ValueError(f"write one verdict for each criterion under judge: {len(criteria)} of them")
        return verdicts

    @property
    def needs_model(self) -> bool:
        """Whether it cannot be held without a live model."""
        return not self.caller or self.model is None or bool(self.judge and self.verdicts is None)
