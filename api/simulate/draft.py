"""A scenario drafted from a recorded conversation: the caller's lines as script, the tools' results as world, what
came of it as expectation."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import yaml

from agent.memory import count_words, heard_text
from agent.replay import run_file as runs
from api.replay import client_of, keys_of, words_of
from api.simulate.conversation import ENDS
from api.simulate.expectations import plain
from api.simulate.scenario import World

_NO_ANSWER = {"say": "One moment.", "after": "30s"}  # of a model that was interrupted before its first word


def draft(run: runs.RunFile, about: str, real: Collection[str] = ()) -> str:
    """The text of a scenario's file. real: tools whose own function shall run, unless it transfers the call.
    RunFileError when the conversation was on a platform that is not known here."""
    turns = [turn for turn in run.turns if turn.webhook["kind"] != "data"]
    scenario = {
        "about": about,
        "caller": list(_steps(turns)),
        "world": _world(run, turns, real),
        "model": [_answer(call) for turn in turns for call in turn.models],
        "expect": _expected(turns),
    }
    return yaml.dump(scenario, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=110)


class _Dumper(yaml.SafeDumper):
    """Writes the same twice, and not an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _steps(turns: Sequence[runs.RecordedTurn]) -> Iterator[Any]:
    for turn, after in zip_longest(turns, turns[1:]):
        if not (said := turn.webhook.get("text", "")):
            continue
        keys = "".join(frame["digit"] for _, frame in keys_of(turn))
        step = {"dtmf": keys} if keys else {"say": said}
        if words := _cut_after(turn, after):
            yield {**step, "interrupt_after": words}
        else:
            yield step if keys else said
    if turns and turns[-1].interrupted:
        yield "hang_up"


def _cut_after(turn: runs.RecordedTurn, after: runs.RecordedTurn | None) -> str:
    """How much of the answer was heard when it was interrupted. Empty when it was not."""
    heard = after.webhook.get("heard") if after else None
    if heard and heard.get("turn_id") in (None, turn.webhook["turn_id"]):
        said = words_of(turn.sent)
        text, whole = heard_text([(None, said)], heard["text"], heard.get("kind", "exact"))
        return f"{count_words(text)} words" if turn.interrupted or not whole else ""
    if not turn.interrupted:
        return ""
    events = turn.hung_up.events if turn.hung_up else len(turn.sent)
    return f"{count_words(words_of(turn.sent[:events]))} words"


def _world(run: runs.RunFile, turns: Sequence[runs.RecordedTurn], real: Collection[str]) -> dict[str, Any]:
    answers: defaultdict[str, list[Any]] = defaultdict(list)
    for call in (call for turn in turns for call in turn.tools if call.name not in real or _transferred(call)):
        if (answer := _tool_answer(call)) not in answers[call.name][-1:]:
            answers[call.name].append(answer)
    first: Mapping[str, Any] = turns[0].webhook if turns else {}
    platform = client_of(run)
    if platform == World().platform and any(kind == "control" for turn in turns for _, kind, _ in turn.sent):
        platform = "completions"  # it was held in the terminal, which can end a call as that can
    return _given(
        platform=platform if platform != World().platform else "",
        date=run.settings.today,
        caller=first.get("caller"),
        metadata=first.get("metadata"),
        tools=dict(answers),
    )


def _tool_answer(call: runs.RecordedToolCall) -> dict[str, Any]:
    if call.ended in ("stopped", "unknown"):
        return _given(when=call.arguments, times_out=True)
    what = {"fails": call.result or True} if call.ended == "failed" else {"result": call.result}
    return {**_given(when=call.arguments, after=_time(call.ms, 500)), **what, **_given(transfer=_transferred(call))}


def _transferred(call: runs.RecordedToolCall) -> str:
    """To which number: it is in the settings of whoever held the call."""
    controls = (content for _, kind, content in call.did if kind == "control")
    return next((control["value"] for control in controls if control["action"] == "transfer"), "")


def _answer(call: runs.RecordedModelCall) -> Any:
    if call.ended not in ("complete", "left"):
        return {"fails": True}
    message = call.message()
    words, calls = message.text, [(one["name"], one["args"]) for one in message.tool_calls]
    if not words.strip() and not calls:
        return _NO_ANSWER
    made = _given(
        say=words.strip(), call=[{name: arguments} for name, arguments in calls], after=_time(call.chunks[0][0], 1000)
    )
    return made["say"] if made.keys() == {"say"} else made


def _expected(turns: Sequence[runs.RecordedTurn]) -> dict[str, Any]:
    ran = [call for turn in turns for call in turn.tools]
    counts = Counter((call.name, repr(call.arguments)) for call in ran)
    calls = {(call.name, repr(call.arguments)): call for call in ran}
    controls = [content["action"] for turn in turns for _, kind, content in turn.sent if kind == "control"]
    ends = next((ENDS[action] for action in reversed(controls) if action in ENDS), None)
    said = next((words for turn in reversed(turns) if (words := words_of(turn.sent).strip()) and not turn.hung_up), "")
    firsts = [next((ms for ms, kind, _ in turn.sent if kind == "say"), 0) for turn in turns]
    return _given(
        calls=[
            _given(tool=call.name, arguments=call.arguments, times=count if (count := counts[key]) > 1 else None)
            for key, call in calls.items()
        ],
        in_order=len(calls) > 1,
        no_other_calls=True,
        heard=[said] if plain(said).strip() else [],
        first_words=f"{math.ceil(max(firsts, default=0) / 1000) + 1}s",
        ends=ends,
    )


def _given(**fields: Any) -> dict[str, Any]:
    """Those that say something."""
    return {name: value for name, value in fields.items() if value}


def _time(ms: int, shortest: int) -> str:
    """Empty for one that is as short as any."""
    return f"{ms}ms" if ms > shortest else ""
