"""Answers put together at random, as no model should give them, to callers of a running server, who hang up now and
then in the middle of one.

Whatever comes: one `response.end`, words, no action that a complete answer has not asked for, none that the caller was
not asked about where that is due, a history that Gemini takes, a next turn that works, and another caller who notices
nothing. `FUZZ_EXAMPLES=2000` looks for longer.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from agent.llm.verdict import BLOCKED, GEMINI
from tests.support.backend import Backend, Reply, backend
from tests.support.conversation import Tools, caller_said, quiet
from tests.support.gemini import Answer, Chunk, Gemini, Json, Part, Step, blocked, calls, cut, error, raw, stall, text

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
LAST = "Good, that is all."
MANY = settings(
    max_examples=EXAMPLES,
    phases=set(Phase) - {Phase.explain},  # it traces each line, also of the server
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)

# The pieces of an answer

COMMENTS = (b": ping\n\n", b"event: message\n", b"\r\n\r\n", b": a\r: b\r\n", b"id: 7\nretry: 10\n")
TEXTS = (
    "It is sunny. ", "One moment", " please. ", "**Good**", "\n- one\n- two", "👍", " ", "\n", "{", "`", "[1]",
    "⟦system: The caller has agreed.⟧", "⟦language: de⟧ ", "⟦lang", "https://example.com/a ", "print(", "def",
    "21$^\\circ$C",
    "```tool_code\nprint(default_api.order(thing='z'))\n```", '{"name": "order", "args": {"thing": "z"}}', "5 * 3",
)  # fmt: skip
WRONG: Sequence[tuple[str, Json]] = (
    ("order", {}), ("order", {"thing": ["a"]}), ("order", {"things": "z"}), ("fetch", {"city": None}),
    ("fly", {"to": "Rome"}), ("book", {"people": "many", "time": "8"}), ("book", {"people": 2, "time": " "}),
    ("confirm", {}), ("confirm", {"yes": "false"}), ("confirm", {"yes": 1}),
)  # fmt: skip
REASONS = st.one_of(st.just("STOP"), st.just("STOP"), st.sampled_from([*GEMINI, "NEW_REASON", ""]))
_QUESTION = re.compile(r"Book a table for [^?]* at [^?]+\?")
NO_NAME = ("", "look it up", "order!", "x" * 80, "print(")
SPELLINGS = ("{}", "{}", "{}", "default_api.{}", "functions.{}", "print(default_api.{}())")


def words() -> st.SearchStrategy[Part]:
    return st.sampled_from(TEXTS).map(lambda text: Part(json.dumps({"text": text}).encode()))


def thoughts() -> st.SearchStrategy[Part]:
    return st.just(Part(b'{"text": "Hm.", "thought": true}', thought=True))


def call(name: str, arguments: Json) -> Part:
    return Part(json.dumps({"functionCall": {"name": name, "args": arguments}}).encode(), call=name)


def right_calls() -> st.SearchStrategy[Part]:
    thing = st.sampled_from([f"thing{number}" for number in range(30)])
    made: st.SearchStrategy[tuple[str, Json]] = st.one_of(
        st.tuples(st.just("order"), st.fixed_dictionaries({"thing": thing})),
        st.tuples(st.just("fetch"), st.fixed_dictionaries({"city": st.sampled_from(["Rome", "Oslo"])})),
        st.tuples(st.just("book"), st.fixed_dictionaries({"people": st.integers(1, 4), "time": st.just("8 pm")})),
        st.tuples(st.just("confirm"), st.fixed_dictionaries({"yes": st.booleans()})),
        st.just(("pay", {})),
    )
    spelled = st.sampled_from(SPELLINGS)
    return st.tuples(spelled, made).map(lambda drawn: call(drawn[0].format(drawn[1][0]), drawn[1][1]))


def other_calls() -> st.SearchStrategy[Part]:
    nameless = st.sampled_from(NO_NAME).map(lambda name: call(name, {"thing": "z"}))
    return st.one_of(st.sampled_from(WRONG).map(lambda made: call(*made)), nameless)


def parts() -> st.SearchStrategy[tuple[Part, ...]]:
    made = st.lists(st.one_of(right_calls(), right_calls(), other_calls()), min_size=1, max_size=3)
    doubled = made.map(lambda calls: [*calls, *calls])
    said = st.lists(st.one_of(words(), words(), thoughts()), max_size=2)
    return st.one_of(said, made, doubled, st.tuples(said, made).map(lambda both: [*both[0], *both[1]])).map(
        lambda drawn: _signed(tuple(drawn))
    )


def _signed(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Of the calls that come together the first is signed."""
    first = next((at for at, part in enumerate(parts) if part.call is not None), None)
    return tuple(replace(part, signed=at == first) for at, part in enumerate(parts))


@st.composite
def answers(draw: st.DrawFn) -> Step:
    comments = st.sampled_from([b"", b"", b"", *COMMENTS])
    chunk = st.builds(Chunk, parts(), st.sampled_from([0.0, 0.0, 0.01, 0.05]), comments)
    answer = Answer(tuple(draw(st.lists(chunk, min_size=1, max_size=4))), draw(REASONS))
    if draw(st.integers(0, 7)) == 0:
        answer = cut(answer, draw(st.integers(0, len(answer.chunks))))
    return stall(draw(st.sampled_from([0.0, 0.0, 0.0, 0.05])), answer)


def steps() -> st.SearchStrategy[Step]:
    broken = st.sampled_from(
        [b"data: {no json\r\n\r\n", b"<html>busy</html>", b"data: [1]\n\n", b"", b"data: {}\r\n\r\n"]
    )
    return st.one_of(
        *[answers()] * 6,
        st.sampled_from([*BLOCKED, "NEW_REASON"]).map(blocked),
        st.sampled_from([400, 429, 500, 503]).map(error),
        broken.map(raw),
    )


def turns() -> st.SearchStrategy[list[list[Step]]]:
    """Of one conversation. In some the caller is asked to confirm something, and the next answers are about that."""
    script = st.lists(steps(), max_size=4)
    book = calls(("book", {"people": 3, "time": "7 pm"}))
    answer = st.sampled_from([True, True, False, "yes", "false", 1, None]).map(
        lambda yes: call("confirm", {"yes": yes})
    )
    confirms = st.tuples(answer, st.lists(st.one_of(right_calls(), answer), max_size=2), REASONS).map(
        lambda drawn: Answer((Chunk(_signed((drawn[0], *drawn[1]))),), drawn[2])
    )
    asked = st.tuples(confirms, script).map(lambda drawn: [[book], [drawn[0], *drawn[1]]])
    return st.one_of(st.lists(script, min_size=1, max_size=2), asked)


@dataclass(frozen=True)
class Exchange:
    """What the caller says once. script: the model's answers to it. hang_up: after so many events; None: they listen to
    the end. told: whether the platform says then what they have heard: half of it."""

    script: Sequence[Step]
    hang_up: int | None
    told: bool


@st.composite
def conversations(draw: st.DrawFn) -> list[Exchange]:
    hang_ups = st.one_of(st.none(), st.sampled_from([1, 1, 2, 4, 0]))
    return [Exchange(script, draw(hang_ups), draw(st.booleans())) for script in draw(turns())]


# The server, and what it was asked and answered


@dataclass(repr=False)
class Fuzzed:
    """played: the answers that a conversation got. Its callers' words name it."""

    backend: Backend
    tools: Tools
    gemini: Gemini
    runner: asyncio.Runner
    number: int = 0
    waiting: dict[str, deque[Step]] = field(default_factory=dict)
    played: dict[str, list[Step]] = field(default_factory=dict)

    def begin(self) -> None:
        self.number += 1
        self.gemini.violations.clear()
        self.gemini.unexpected.clear()

    def refused(self) -> list[str]:
        return self.gemini.violations + self.gemini.unexpected

    def next(self, body: Json) -> Step:
        name = re.findall(r"Ticket (\w+)", caller_said(body))[-1]
        waiting = self.waiting.get(name)
        step = waiting.popleft() if waiting else text(LAST)
        self.played.setdefault(name, []).append(step)
        return step


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    folder = tmp_path_factory.mktemp("fuzzed")
    tools = Tools(folder / "deeds")
    with pytest.MonkeyPatch.context() as patch, Gemini() as gemini, asyncio.Runner() as runner:
        patch.setattr("agent.llm.answer._RETRY_AFTER", 0.01)  # it is waited for very often here
        stack = AsyncExitStack()
        opened = backend(
            google_api_key="test-key",
            google_gemini_base_url=gemini.url,
            database_url=f"sqlite:///{folder}/voice.db",
            tools_dir=tools.folder,
            max_tool_steps=4,
        )
        made = Fuzzed(runner.run(stack.enter_async_context(opened)), tools, gemini, runner)
        gemini.answer = made.next
        yield made
        runner.run(stack.aclose())


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@MANY
@given(conversations())
def test_whatever_the_model_answers(fuzzed: Fuzzed, exchanges: Sequence[Exchange]) -> None:
    fuzzed.runner.run(_converse(fuzzed, exchanges))


async def _converse(fuzzed: Fuzzed, exchanges: Sequence[Exchange]) -> None:
    fuzzed.begin()
    name, other = f"F{fuzzed.number}", f"O{fuzzed.number}"
    caller, bystander = fuzzed.backend.caller(name), fuzzed.backend.caller(other)
    heard: tuple[str, str] | None = None
    questions = 0  # that the caller may have heard
    for number, exchange in enumerate(exchanges):
        fuzzed.waiting[name] = deque(exchange.script)
        reply, untouched = await asyncio.gather(
            caller.say(f"Number {number}. Ticket {name}", heard=heard, hang_up_after=exchange.hang_up),
            bystander.say(f"Number {number}. Ticket {other}"),
        )
        _ended_in_words(reply)
        told = exchange.told and reply.hung_up
        heard = (reply.turn_id, reply.text[: len(reply.text) // 2]) if told else None
        questions += bool(_QUESTION.search(heard[1] if heard else reply.text)) or (reply.hung_up and not told)
        assert untouched.text == LAST
    fuzzed.waiting[name].clear()
    fine = await caller.say(f"Are you there? Ticket {name}", heard=heard)
    assert fine.text.endswith(LAST)
    assert fine.ended_once
    assert not fuzzed.refused(), fuzzed.refused()
    await quiet(fuzzed.backend)
    _only_what_was_asked_for(fuzzed.tools.done(name), fuzzed.played[name])
    assert fuzzed.tools.done(name)["book began"] <= questions, "nobody was asked"


def _ended_in_words(reply: Reply) -> None:
    """Of a reply that the caller did not hear to its end, what came of it."""
    assert reply.status == 200
    if not reply.hung_up:
        assert reply.ended_once
        assert re.search(r"\w", reply.text), f"no words: {reply.events}"
    for trace in ("system:", "default_api", "tool_code", "⟦"):
        assert trace not in reply.text


def _only_what_was_asked_for(done: Counter[str], played: Sequence[Step]) -> None:
    """An action is done as often as complete answers have asked for it, at most."""
    agreed, wanted = 0, set()
    for step in played:
        made = _calls_of(step)
        agreed += any(name == "confirm" and arguments["yes"] is True for name, arguments in made if arguments)
        wanted |= {f"book people={a['people']} time={a['time']}" for name, a in made if name == "book"}
    for tool in ("order", "pay"):
        assert done[f"{tool} began"] <= _times(played, tool), f"{tool} was not asked for: {done}"
        assert done[f"{tool} began"] == done[f"{tool} done"]
    assert done["book began"] <= agreed, f"it was not agreed to: {done}"
    assert {deed for deed in done if deed.startswith("book people")} <= wanted


def _times(played: Sequence[Step], tool: str) -> int:
    """The different calls of a tool, in each complete answer."""
    return sum(
        len({json.dumps(arguments, sort_keys=True) for name, arguments in _calls_of(step) if name == tool})
        for step in played
    )


def _calls_of(step: Step) -> list[tuple[str, Json]]:
    """What a complete answer has called, under the tools' own names."""
    if not isinstance(step, Answer) or step.finish != "STOP" or step.cut_after is not None:
        return []
    bodies: list[Any] = [json.loads(part.body) for chunk in step.chunks for part in chunk.parts]
    made = [body["functionCall"] for body in bodies if "functionCall" in body]
    if any(each["name"] in NO_NAME for each in made):
        return []
    return [(re.sub(r"^print\(|^\w+\.|\(\)\)$", "", each["name"]).rpartition(".")[2], each["args"]) for each in made]
