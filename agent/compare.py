"""What differs between a recorded run and its replay, as people read it: the cause first, then a short diff."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from agent.runs import ModelCall, RunFile, ToolCall, Turn

_LONGEST = 30  # lines of a diff


@dataclass(frozen=True)
class Difference:
    """cause: one line. diff: lines that begin with -, + or a space; may be empty."""

    cause: str
    diff: Sequence[str] = ()

    def __str__(self) -> str:
        return "\n".join([self.cause, *(f"    {line}" for line in self.diff)])


def differences(expected: RunFile, came: RunFile, *, from_turn: int = 1) -> list[Difference]:
    """In the order of cause and effect: the prompt, the tools on offer, then turn by turn."""
    found = list(_of_prompt(expected, came))
    found += _of_tools(expected.offered, came.offered)
    for number, (then, now) in enumerate(zip(expected.turns, came.turns, strict=True), 1):
        if number >= from_turn:
            shown, seen = _shown(expected.turns[: number - 1], then), _shown(came.turns[: number - 1], now)
            found += [
                *_of_tool_calls(number, then.tools, now.tools),
                *_of_models(number, then, now, shown, seen),
                *_of_sent(number, then, now),
            ]
    return found


def _of_prompt(expected: RunFile, came: RunFile) -> Iterator[Difference]:
    if expected.prompt != came.prompt:
        yield Difference("The prompt has changed.", _diff(expected.prompt, came.prompt))
    if expected.settings != came.settings:
        yield Difference("The settings have changed.", _diff([str(expected.settings)], [str(came.settings)]))


def _of_tools(then: dict[str, Any], now: dict[str, Any]) -> Iterator[Difference]:
    for name in then.keys() - now.keys():
        yield Difference(f"The tool {name} is gone.", [f"- {name}", *(f"+ {new}" for new in now.keys() - then.keys())])
    for name in sorted(now.keys() - then.keys()):
        yield Difference(f"There is a new tool {name}.")
    for name in then.keys() & now.keys():
        if then[name] != now[name]:
            yield Difference(
                f"The tool {name} looks different to the model.", _diff(_lines(then[name]), _lines(now[name]))
            )
    if list(then) != list(now) and then.keys() == now.keys():
        yield Difference("The order of the tools has changed.", _diff(list(then), list(now)))


def _of_tool_calls(number: int, then: Sequence[ToolCall], now: Sequence[ToolCall]) -> Iterator[Difference]:
    for old, new in zip_longest(then, now):
        if new is None:
            yield Difference(f"Turn {number}: the tool {old.name} was not called.", [f"- {_called(old)}"])
        elif old is None:
            yield Difference(f"Turn {number}: unexpected call of the tool {new.name}.", [f"+ {_called(new)}"])
        elif old.name != new.name:
            cause = f"Turn {number}: the tool {new.name} was called instead of {old.name}."
            yield Difference(cause, [f"- {_called(old)}", f"+ {_called(new)}"])
        elif old.arguments != new.arguments:
            cause = f"Turn {number}: the tool {old.name} was called with other arguments."
            yield Difference(cause, [f"- {_called(old)}", f"+ {_called(new)}"])


def _of_models(
    number: int, then: Turn, now: Turn, shown: Sequence[Sequence[str]], seen: Sequence[Sequence[str]]
) -> Iterator[Difference]:
    for call, (old, new) in enumerate(zip_longest(then.models, now.models), 1):
        if new is None:
            yield Difference(f"Turn {number}: recorded answer {call} of the model was not used.", _said(old))
        elif old is None:
            yield Difference(
                f"Turn {number}: unexpected model call, the {_nth(call)} of the turn.", seen[call - 1][-3:]
            )
        elif shown[call - 1] != seen[call - 1]:
            cause = f"Turn {number}: the model was shown something else in call {call}."
            yield Difference(cause, _diff(shown[call - 1], seen[call - 1]))
        elif old.tools != new.tools:
            cause = f"Turn {number}: the model was offered other tools in call {call}."
            yield Difference(cause, _diff(old.tools, new.tools))


def _of_sent(number: int, then: Turn, now: Turn) -> Iterator[Difference]:
    old, new = _as_sent(then), _as_sent(now)
    if [line.partition(" ")[2] for line in old] != [line.partition(" ")[2] for line in new]:
        yield Difference(f"Turn {number}: something else was sent.", _diff(old, new))
    elif old != new:
        yield Difference(f"Turn {number}: the same was sent at other times.", _diff(old, new))


def _shown(before: Sequence[Turn], turn: Turn) -> list[list[str]]:
    """What each model call of a turn was shown, whole, a line for each message."""
    lines: list[str] = []
    calls: list[ModelCall] = [call for earlier in before for call in earlier.models]
    whole = []
    for call in [*calls, *turn.models]:
        lines = [*lines[: call.same], *(_message(message) for message in call.then)]
        whole.append(lines)
    return whole[len(calls) :]


def _message(message: dict[str, Any]) -> str:
    return json.dumps(message, ensure_ascii=False)


def _as_sent(turn: Turn) -> list[str]:
    return [f"{ms} ms {kind} {json.dumps(content, ensure_ascii=False)}" for ms, kind, content in turn.sent]


def _called(call: ToolCall) -> str:
    return f"{call.name}({json.dumps(call.arguments, ensure_ascii=False)})"


def _said(call: ModelCall) -> list[str]:
    return ["- " + "".join(chunk[1] for chunk in call.chunks if isinstance(chunk[1], str))]


def _lines(value: Any) -> list[str]:
    return json.dumps(value, ensure_ascii=False, indent=1).splitlines()


def _diff(then: Sequence[str], now: Sequence[str]) -> list[str]:
    lines = list(difflib.unified_diff(then, now, lineterm="", n=1))[2:]
    return [line for line in lines if not line.startswith("@@")][:_LONGEST]


def _nth(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")
