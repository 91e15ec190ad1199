"""Small faults in the product, each at the place where it would arise: a scenario that comes with this project, or what
must hold in every call, notices each, and the first line of the report names the cause."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from agent.conversation import Conversations
from agent.llm import Models
from agent.memory.heard import heard_parts
from agent.tooling import GatedCall, ToolRunner, options_of
from agent.turns import Turn
from tests.simulate.conftest import SCENARIOS, Hold

Patch = pytest.MonkeyPatch


def memory_keeps_what_was_not_heard(patch: Patch) -> None:
    patch.setattr("agent.memory.history.heard_parts", lambda said, heard, kind: heard_parts(said, None))


def an_action_runs_twice(patch: Patch) -> None:
    once: Any = ToolRunner._call

    async def twice(self: ToolRunner, run: Any) -> Any:
        await once(self, run)
        return await once(self, run)

    patch.setattr(ToolRunner, "_call", twice)


def nobody_is_asked_before_an_action(patch: Patch) -> None:
    patch.setattr(GatedCall, "asks", False)


def a_line_is_said_twice(patch: Patch) -> None:
    def progress(self: Turn, line: str) -> bool:
        self.say(line)
        self.say(line)
        return True

    patch.setattr(Turn, "progress", progress)


def the_apology_comes_in_place_of_an_answer(patch: Patch) -> None:
    async def answer(self: Models, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("mutated")

    patch.setattr(Models, "answer", answer)


def tools_have_no_time_limit(patch: Patch) -> None:
    patch.setattr("agent.tooling.call.options_of", lambda tool: replace(options_of(tool), timeout=3600))


def the_first_words_are_late(patch: Patch) -> None:
    in_time: Any = Models.answer

    async def answer(self: Models, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(3)
        return await in_time(self, *args, **kwargs)

    patch.setattr(Models, "answer", answer)


def the_date_is_wrong(patch: Patch) -> None:
    right: Any = Conversations._context

    def context(self: Conversations, *args: Any) -> Any:
        made = right(self, *args)
        made.prompt = made.prompt.replace("2 March", "3 March")
        return made

    patch.setattr(Conversations, "_context", context)


def interruptions_are_ignored(patch: Patch) -> None:
    patch.setattr(Turn, "interrupt", lambda self: None)


def the_answer_goes_on_after_the_call_has_ended(patch: Patch) -> None:
    patch.setattr(Turn, "ends_call", False)


MUTATIONS: dict[Callable[[Patch], None], str] = {
    memory_keeps_what_was_not_heard: r"Turn 3: the model remembers 'It is .* eighteen degrees\.' of an answer of which "
    r"only 'Checking .* the sky is' was heard\.",
    an_action_runs_twice: r"Turn 3: book_table ran twice for one call\.",
    nobody_is_asked_before_an_action: r'Turn 1: book_table ran though the caller had not heard "Book a table for 4 '
    r'tomorrow at 19:00\?" and agreed\.',
    a_line_is_said_twice: r'Turn 3: the line "Booking your table\." was said twice in a row\.',
    the_apology_comes_in_place_of_an_answer: r'Turn 1: the caller heard the apology in place of an answer: "S.*"\.',
    tools_have_no_time_limit: r"Turn 1: weather ran for \d\d\.\d s, and its time limit is 8 s\.",
    the_first_words_are_late: r"Turn 1: the first words came after 3\.\d s, and the limit is 1 s\.",
    the_date_is_wrong: r"Turn 1: the model was told 'Today is Monday, 3 March 2026\.' in place of 'Today is Monday, "
    r"2 March 2026\.'\.",
    the_answer_goes_on_after_the_call_has_ended: r'Turn 2: the agent said ".*" after it had said its '
    r"last words and ended the call\.",
    interruptions_are_ignored: r"Turn 1: the caller interrupted the answer, and it went on all the same\.",
}


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__)
def test_a_fault_is_noticed_and_its_cause_is_named_first(
    mutate: Callable[[Patch], None], hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)
    found = {file.stem: hold(file.stem).faults for file in sorted(SCENARIOS.glob("*.yaml"))}
    causes = [faults[0] for faults in found.values() if faults]
    assert [cause for cause in causes if re.fullmatch(MUTATIONS[mutate], cause)], found
    assert len(MUTATIONS) == 10


def test_without_a_fault_every_scenario_passes(hold: Hold) -> None:
    assert {file.stem: hold(file.stem).faults for file in sorted(SCENARIOS.glob("*.yaml"))} == {
        file.stem: [] for file in SCENARIOS.glob("*.yaml")
    }
