"""What differs between a recorded run and its replay, as people read it: the cause first, then a short diff."""

from __future__ import annotations

import difflib
import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile, zip_longest
from typing import Any

from agent.replay.run_file import RecordedModelCall, RecordedToolCall, RecordedTurn, RunFile
from agent.turns import compact

_LONGEST = 30  # lines of a diff
_MOST = 8  # differences in a report: the others follow from these


@dataclass(frozen=True)
class Difference:
    """cause: one line. diff: lines that begin with -, + or a space; may be empty. unrecorded: the recording has
    no answer to what happens now."""

    cause: str
    diff: Sequence[str] = ()
    unrecorded: bool = False

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
                *(_of_sent(number, then, now) or _of_frames(number, then, now)),
            ]
    return found


def timeless(turn: RecordedTurn) -> list[tuple[str, Any]]:
    """What was sent, without the times: a tool's report has one in it too."""
    contents = [(kind, content) for _, kind, content in turn.sent]
    return [(kind, {**c, "ms": 0} if isinstance(c, dict) and "ms" in c else c) for kind, c in contents]


def report(found: Sequence[Difference]) -> str:
    """What people read: causes first."""
    left_out = [f"… and {len(found) - _MOST} more differences."] if len(found) > _MOST else []
    return "\n".join([*map(str, found[:_MOST]), *left_out])


def _of_prompt(expected: RunFile, came: RunFile) -> Iterator[Difference]:
    if expected.prompt != came.prompt:
        yield Difference("The prompt has changed.", _diff(expected.prompt, came.prompt))


def _of_tools(then: dict[str, Any], now: dict[str, Any]) -> Iterator[Difference]:
    gone, new = [name for name in then if name not in now], [name for name in now if name not in then]
    for name in gone:
        if renamed := next((other for other in new if now[other] == then[name]), None):
            new.remove(renamed)
            yield Difference(f"The tool {name} has been renamed {renamed}.")
        else:
            yield Difference(f"The tool {name} is gone.")
    for name in new:
        yield Difference(f"There is a new tool {name}.")
    for name in (name for name in then if name in now):
        for what, verb in (("description", "has"), ("arguments", "have")):
            old, other = meaning(then[name].get(what)), meaning(now[name].get(what))
            if old != other:
                yield Difference(f"The {what} of the tool {name} {verb} changed.", _diff(_lines(old), _lines(other)))
    if list(then) != list(now) and then.keys() == now.keys():
        yield Difference("The order of the tools has changed.", _diff(list(then), list(now)))


def meaning(schema: Any) -> Any:
    """A schema without what says nothing: the titles that are made of the names, and the order of its keys."""
    if isinstance(schema, list):
        return [meaning(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: meaning(value) for key, value in schema.items() if key != "title" or isinstance(value, dict)}
    return dict(sorted(kept.items()))


def _of_tool_calls(
    number: int, then: Sequence[RecordedToolCall], now: Sequence[RecordedToolCall]
) -> Iterator[Difference]:
    called, calls = [_called(call) for call in then], [_called(call) for call in now]
    if called != calls and sorted(called) == sorted(calls):
        yield Difference(f"Turn {number}: the tools were called in another order.", _diff(called, calls))
        return
    for old, new in zip_longest(then, now):
        if new is None:
            yield Difference(f"Turn {number}: the tool {old.name} was not called.", [f"- {_called(old)}"])
        elif old is None:
            yield Difference(f"Turn {number}: unexpected call of the tool {new.name}.", [f"+ {_called(new)}"], True)
        elif old.name != new.name:
            cause = f"Turn {number}: the tool {new.name} was called instead of {old.name}."
            yield Difference(cause, [f"- {_called(old)}", f"+ {_called(new)}"])
        elif old.arguments != new.arguments:
            cause = f"Turn {number}: the tool {old.name} was called with other arguments."
            yield Difference(cause, [f"- {_called(old)}", f"+ {_called(new)}"])


def _of_models(
    number: int, then: RecordedTurn, now: RecordedTurn, shown: Sequence[Sequence[str]], seen: Sequence[Sequence[str]]
) -> Iterator[Difference]:
    """What is shown otherwise, or is not expected, is told once: the later calls of the turn follow from it."""
    asked = len(now.models)
    other = next((call for call, lines in enumerate(shown[:asked]) if lines != seen[call]), None)
    if other is not None:
        cause = f"Turn {number}: the model was shown something else in call {other + 1}."
        yield Difference(cause, _diff(shown[other], seen[other]))
    for call, (old, new) in enumerate(zip(then.models, now.models, strict=False), 1):
        was, is_ = _of_the_project(old.tools), _of_the_project(new.tools)
        if was != is_:
            cause = f"Turn {number}: the model was offered other tools in call {call}."
            yield Difference(cause, _diff(was, is_))
    for call, old in enumerate(then.models[asked:], asked + 1):
        yield Difference(f"Turn {number}: recorded answer {call} of the model was not used.", _answered(old))
    if asked > len(then.models):
        call = len(then.models)
        cause = f"Turn {number}: unexpected model call, the {_nth(call + 1)} of the turn."
        yield Difference(cause, [f"+ {line}" for line in seen[call][-3:]], True)


def _of_sent(number: int, then: RecordedTurn, now: RecordedTurn) -> list[Difference]:
    old, new = _as_sent(then), _as_sent(now)
    if cause := _sent_otherwise(timeless(then), timeless(now)):
        return [Difference(f"Turn {number}: {cause}", _diff(old, new))]
    if old != new:
        return [Difference(f"Turn {number}: the same was sent at other times.", _diff(old, new))]
    return []


def _of_frames(number: int, then: RecordedTurn, now: RecordedTurn) -> list[Difference]:
    old, new = _as_framed(then), _as_framed(now)
    return [Difference(f"Turn {number}: the platform got other frames.", _diff(old, new))] if old != new else []


def _of_the_project(tools: Sequence[str]) -> list[str]:
    """Without `confirm`, which is not its own: when that is declared differs from version to version."""
    return [name for name in tools if name != "confirm"]


def _sent_otherwise(then: Sequence[tuple[str, Any]], now: Sequence[tuple[str, Any]]) -> str | None:
    """The first thing that was sent otherwise, in a sentence."""
    at = next(
        (at for at, (old, new) in enumerate(zip(then, now, strict=False)) if old != new), min(len(then), len(now))
    )
    old, new = then[at:], now[at:]
    if not old and not new:
        return None
    if sorted(map(repr, old)) == sorted(map(repr, new)):
        return "the same was sent in another order."
    if old and new and old[0][0] == new[0][0] == "show":
        return "the page got other data."
    if old and new and old[0][0] == new[0][0] == "say":
        return f"the caller hears {_quoted(new)} instead of {_quoted(old)}."
    if new and (not old or new[0] not in old):
        return f"the caller also hears {_quoted(new)}." if new[0][0] == "say" else "the page got more data."
    return f"the caller no longer hears {_quoted(old)}." if old[0][0] == "say" else "the page got less data."


def _quoted(sent: Sequence[tuple[str, Any]]) -> str:
    """The words from here to where something else was sent."""
    spoken = "".join(content for _, content in takewhile(lambda event: event[0] == "say", sent))
    return json.dumps(textwrap.shorten(spoken, 60, placeholder=" …"), ensure_ascii=False)


def _shown(before: Sequence[RecordedTurn], turn: RecordedTurn) -> list[list[str]]:
    """What each model call of a turn was shown, whole, a line for each message."""
    lines: list[str] = []
    calls: list[RecordedModelCall] = [call for earlier in before for call in earlier.models]
    whole = []
    for call in [*calls, *turn.models]:
        lines = [*lines[: call.same], *(_message(message) for message in call.then)]
        whole.append(lines)
    return whole[len(calls) :]


def _message(message: dict[str, Any]) -> str:
    return json.dumps(message, ensure_ascii=False)


def _as_sent(turn: RecordedTurn) -> list[str]:
    return [f"{ms} ms {kind} {json.dumps(content, ensure_ascii=False)}" for ms, kind, content in turn.sent]


def _as_framed(turn: RecordedTurn) -> list[str]:
    return [f"{ms} ms {way} {json.dumps(frame, ensure_ascii=False)}" for ms, way, frame in turn.frames]


def _called(call: RecordedToolCall) -> str:
    return f"{call.name}({json.dumps(call.arguments, ensure_ascii=False)})"


def _answered(call: RecordedModelCall) -> list[str]:
    return [f"- {_message(shown)}" for shown in compact([call.message()])]


def _lines(value: Any) -> list[str]:
    return json.dumps(value, ensure_ascii=False, indent=1).splitlines()


def _diff(then: Sequence[str], now: Sequence[str]) -> list[str]:
    lines = list(difflib.unified_diff(then, now, lineterm="", n=1))[2:]
    return [line for line in lines if not line.startswith("@@")][:_LONGEST]


def _nth(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")
