"""What the author of a tool uses: `@voice_tool`, `say()`, `show()`, `tool_context()`.

A tool is a LangChain tool with options for a voice call: what is said while it runs, how long it may
take, and what becomes of it when the caller interrupts. Put it into `tools/` and the agent has it.
"""

from __future__ import annotations

import inspect
import re
import string
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, overload

import httpx
from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, Field

from agent.languages import Texts, all_of, fault_in, in_language
from agent.speech import speakable
from agent.storage import Database
from agent.tooling.json_schema import Undeclarable
from agent.tooling.sandbox import isolated
from agent.tooling.signature import arguments_of
from agent.tooling.spoken import spoken, words_of
from agent.turns import CallAction, CallControl

OnBargeIn = Literal["finish", "cancel", "protect"]


@dataclass(frozen=True)
class ToolOptions:
    """How a tool behaves in a call. Texts may name the tool's arguments in braces, and be given for each language:
    {"en": "Booking.", "de": "Ich buche."}. A plain one is for all.

    say: spoken when the tool starts, unless the model has just spoken.
    slow: spoken when the tool still runs and nobody has spoken for `slow_after` seconds, then at growing distances:
        one line, followed by standard ones, or several. Without it standard ones; with "" none.
    timeout: seconds until the call is given up.
    on_barge_in: what an interruption does. `finish`: it runs on, and its result waits for the next turn.
        `cancel`: it is stopped; right for whatever only reads. `protect`: as `finish`, and what it says is
        said first in the next turn.
    confirm: a question that the caller must have heard before the call is run.
    at_once: how many calls of it may run at a time, for all callers; more wait within their time. None: any, of
        a sync one 40.
    needs: what the call's platform must be able to do; elsewhere the model is not offered the tool.
    """

    say: Texts | None = None
    slow: Texts | Sequence[Texts] | None = None
    slow_after: float = 4.0
    timeout: float = 20.0
    on_barge_in: OnBargeIn = "finish"
    confirm: Texts | None = None
    at_once: int | None = None
    needs: CallAction | None = None


Check = Callable[..., Mapping[str, Any] | Awaitable[Mapping[str, Any] | None] | None]


class VoiceTool(StructuredTool):
    """A LangChain tool with its options. check: looks at a call's arguments before it is run, or the caller asked.
    faults: what is wrong with a call's arguments, for a tool that is described by a JSON schema. fault: why the tool
    itself cannot be offered to a model."""

    options: ToolOptions = Field(default_factory=ToolOptions)
    check: Check | None = None
    faults: Callable[[Mapping[str, Any]], list[str]] | None = None
    fault: str = ""

    @property
    def tool_call_schema(self) -> Any:
        """What the model is told is what a call is checked by."""
        return self.args_schema if isinstance(self.args_schema, type) else super().tool_call_schema


@dataclass(frozen=True)
class ToolContext:
    """What a running tool may use. `tool_context()` returns the one of the present call.

    call_id: unique, and the same should one action ever be run again: the key that makes it happen once.
    caller: the phone number, on telephone calls, as in +4930123456; None without one, or when it is withheld. It is no
        proof of who calls: numbers can be spoofed. Ask for more before what matters.
    metadata: the `custom_metadata` of the webhook. A page may have set it: it is no proof of who calls.
    http: a shared client; its time limits are 10 s unless a request says otherwise.
    database: the agent's own database, for what the tool must keep.
    abilities: what the platform can do to the call (`hang_up`, `transfer`, `send_dtmf`).
    control: what hang_up(), transfer() and send_dtmf() use.
    """

    call_id: str
    conversation_id: str
    caller: str | None
    metadata: Mapping[str, Any]
    http: httpx.AsyncClient
    database: Database
    say: Callable[[str], None]
    show: Callable[[Any], None]
    control: Callable[[CallControl], None] = field(default=lambda _: None)
    abilities: frozenset[str] = frozenset()


_current: ContextVar[ToolContext] = ContextVar("tool_context")


def tool_context() -> ToolContext:
    """The context of the tool call that is running here. RuntimeError outside of one."""
    try:
        return _current.get()
    except LookupError:
        raise RuntimeError(
            "tool_context(), say() and show() work inside a running tool; in a test, enter use_context() first"
        ) from None


class use_context:
    """`with use_context(ctx): await my_tool.ainvoke({...})` runs a tool as if the agent had called it."""

    def __init__(self, context: ToolContext) -> None:
        self._context = context

    def __enter__(self) -> ToolContext:
        self._token = _current.set(self._context)
        return self._context

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


def say(text: str) -> None:
    """Speak a line to the caller while the tool works."""
    tool_context().say(text)


def show(data: Any) -> None:
    """Send JSON to the caller's page, unchanged, as `response.data`. Not spoken."""
    tool_context().show(data)


_NAME = re.compile(r"[A-Za-z_]\w{0,63}", re.ASCII)
_RESERVED = {"config", "run_manager", "callbacks"}
_LONGEST_ARGUMENT = 80  # characters of an argument that are spoken

Function = Callable[..., Any] | Callable[..., Awaitable[Any]]


@overload
def voice_tool(function: Function, /) -> VoiceTool: ...
@overload
def voice_tool(
    *,
    name: str | None = None,
    say: Texts | None = None,
    slow: Texts | Sequence[Texts] | None = None,
    slow_after: float = 4.0,
    timeout: float = 20.0,
    on_barge_in: OnBargeIn = "finish",
    confirm: Texts | None = None,
    at_once: int | None = None,
    needs: CallAction | None = None,
    check: Check | None = None,
) -> Callable[[Function], VoiceTool]: ...
def voice_tool(
    function: Function | None = None, /, *, name: str | None = None, **options: Any
) -> VoiceTool | Callable[[Function], VoiceTool]:
    """Make a tool of a function: its name, docstring and annotations are what the model sees.

    check: a function, async or not, that takes any of the tool's arguments by name. It is called before the tool, and
    before the question of `confirm`. It returns None, or arguments to put in their place; with ToolException("…") it
    refuses the call and tells the model why. It has three seconds, and changes nothing.
    Other options: see `ToolOptions`. What cannot work, such as a text that names an unknown argument, is a ValueError
    here. Arguments that cannot be told to a model are the tool's `fault`: the folder says so, and leaves this tool out.
    """
    looks: Check | None = options.pop("check", None)

    def make(function: Function) -> VoiceTool:
        made = ToolOptions(**options)
        label = name or function.__name__
        if not inspect.getdoc(function):
            raise ValueError(f"tool {label!r} needs a docstring: it tells the model when to use the tool")
        check(label, made, inspect.signature(function).parameters)
        arguments, fault = _arguments(label, function)
        _fits(label, looks, inspect.signature(function).parameters)
        return VoiceTool.from_function(  # type: ignore[return-value]
            func=None if inspect.iscoroutinefunction(function) else function,
            coroutine=isolated(function, made.at_once),
            name=label,
            args_schema=arguments,
            options=made,
            fault=fault,
            check=isolated(looks) if looks else None,
        )

    return make if function is None else make(function)


def _arguments(name: str, function: Function) -> tuple[type[BaseModel], str]:
    """The tool's arguments, or none and why."""
    try:
        return arguments_of(name, function), ""
    except Undeclarable as error:
        return BaseModel, str(error)


def options_of(tool: BaseTool) -> ToolOptions:
    """A plain LangChain tool has the options of `@voice_tool` at their defaults."""
    return tool.options if isinstance(tool, VoiceTool) else ToolOptions()


def offered(tools: Mapping[str, BaseTool], abilities: Collection[str]) -> dict[str, BaseTool]:
    """The tools that are of use on a platform with these abilities."""
    return {name: tool for name, tool in tools.items() if options_of(tool).needs in {None, *abilities}}


def acts(tool: BaseTool) -> bool:
    """Whether a call of it may change something: what only reads is stopped on an interruption."""
    return changes(options_of(tool))


def changes(options: ToolOptions) -> bool:
    return bool(options.confirm) or options.on_barge_in != "cancel"


def fill(texts: Texts, arguments: Mapping[str, Any], language: str) -> str:
    """The text for a language with its braces filled from a call's arguments, each as people say it and no longer than
    one can listen to; a missing one leaves nothing behind. Without what cannot be spoken."""
    text, words = in_language(texts, language), words_of(language)
    said = {name: spoken(value, words)[:_LONGEST_ARGUMENT] for name, value in arguments.items()}
    return speakable(" ".join(text.format_map(_Blank(said)).split()))


class _Blank(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return ""


def check(tool: str, options: ToolOptions, arguments: Collection[str]) -> None:
    """ValueError with what to mend, before any call."""
    if not _NAME.fullmatch(tool) or tool == "confirm":
        raise ValueError(f"tool {tool!r}: a name has letters, digits and _, at most 64, and is not `confirm`")
    if options.on_barge_in not in get_args(OnBargeIn):
        raise ValueError(f"tool {tool!r}: on_barge_in= is one of {', '.join(get_args(OnBargeIn))}")
    if options.needs is not None and options.needs not in get_args(CallAction):
        raise ValueError(f"tool {tool!r}: needs= is one of {', '.join(get_args(CallAction))}")
    if options.at_once is not None and options.at_once < 1:
        raise ValueError(f"tool {tool!r}: at_once= is at least 1")
    for taken in _RESERVED.intersection(arguments):
        raise ValueError(f"tool {tool!r}: LangChain keeps the argument name {taken!r} for itself; use another")
    for option in ("say", "slow", "confirm"):
        given = getattr(options, option) or ""
        for texts in [given] if isinstance(given, str | Mapping) else given:
            if fault := fault_in(texts):
                raise ValueError(f"tool {tool!r}: {option}= is a text, or one for each language: {fault}")
            for line in all_of(texts):
                _check_line(tool, option, line, arguments)


def _fits(tool: str, looks: Check | None, arguments: Collection[str]) -> None:
    """ValueError when the tool has no such arguments as its check asks for."""
    named = inspect.signature(looks).parameters.values() if looks else ()
    for one in named:
        if one.kind is not one.VAR_KEYWORD and one.name not in arguments:
            raise ValueError(f"tool {tool!r}: check= takes {one.name!r}, which is not one of its arguments")


def _check_line(tool: str, option: str, line: str, arguments: Collection[str]) -> None:
    for _, name, spec, conversion in string.Formatter().parse(line):
        if name is not None and name not in arguments:
            raise ValueError(f"tool {tool!r}: {option}= names {{{name}}}, which is not one of its arguments")
        if spec or conversion:
            raise ValueError(f"tool {tool!r}: {option}= takes plain {{{name}}}, without a format")
