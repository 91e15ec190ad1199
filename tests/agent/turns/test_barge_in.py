"""Barge-in: the line is dropped at every event boundary of scripted conversations, over real sockets.

A cell of the matrix is one conversation: perhaps a prelude, the turn that is cut, the next message (with or without
`interruption_context`), and one more. The invariant at its end is the same for all.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from agent.storage.results import STILL_RUNNING
from tests.support.backend import Backend, Reply
from tests.support.conversation import (
    Tools,
    answers_in,
    caller_said,
    each_action_once,
    question,
    quiet,
    request_for,
    results_in,
    steps_taken,
    words,
)
from tests.support.gemini import Answer, Gemini, calls, stall, text

_TOKEN = 0.012  # seconds between two
_AT_ONCE = 16  # cells


@dataclass(frozen=True)
class Script:
    """A turn that will be cut. `steps`: what the model does. `progress`: lines spoken that are not its own.
    `lead`: what it says in the message that carries its calls. `before`: a turn that comes first, uncut."""

    steps: tuple[Answer, ...]
    progress: tuple[str, ...] = ()
    lead: str = ""
    before: str | None = None


SCRIPTS = {
    "plain": Script((text("One, two three; four five Six.", delay=_TOKEN),)),
    "tool": Script(
        (calls(("fetch", {"city": "Paris"})), text("It is sunny there.", delay=_TOKEN)), ("Checking Paris.",)
    ),
    "spoken": Script(
        (calls(("order", {"thing": "soup"}), text="I order soup.", delay=_TOKEN), text("It is coming.")),
        lead="I order soup. ",
    ),
    "parallel": Script(
        (
            calls(("fetch", {"city": "Rome"}), ("order", {"thing": "tea"}), apart=True),
            text("Sunny; tea is coming.", delay=_TOKEN),
        ),
        ("Checking Rome.",),
    ),
    "steps": Script(
        (
            calls(("fetch", {"city": "Oslo"})),
            calls(("order", {"thing": "an umbrella"})),
            text("An umbrella it is.", delay=_TOKEN),
        ),
        ("Checking Oslo.",),
    ),
    "ask": Script((calls(("book", {"people": 4, "time": "7 pm"})),)),
    "yes": Script((calls(("confirm", {"yes": True})), text("It is booked.", delay=_TOKEN)), before="ask"),
    "failing": Script((calls(("broken", {})), text("That did not work.", delay=_TOKEN)), ("One moment.",)),
    "protect": Script((calls(("pay", {})), text("All is paid.", delay=_TOKEN)), ("Paying now.", "It is paid.")),
    "sync": Script((calls(("label", {})), text("It is printed.", delay=_TOKEN))),
}

Context = Literal["none", "all", "less"]


def model(body: dict[str, Any]) -> Answer:
    """The scripts, by what the caller said last: "go plain 17"; anything else is answered with one sentence."""
    asked = question(body).split()
    if asked[0] != "go":
        return text("Here I am again.")
    return SCRIPTS[asked[1]].steps[steps_taken(body)]


@dataclass(frozen=True)
class Cell:
    script: str
    after: int  # events
    context: Context

    @property
    def name(self) -> str:
        return f"{self.script}_{self.after}_{self.context}"

    async def play(
        self, backend: Backend, gemini: Gemini, deeds: Tools, quiet: Callable[[Backend, str], Awaitable[None]]
    ) -> None:
        caller, script = backend.caller(self.name), SCRIPTS[self.script]
        if script.before:
            assert (await caller.say(f"go {script.before} {self.name}", turn="before")).ended_once
        cut = await caller.say(f"go {self.script} {self.name}", turn="cut", hang_up_after=self.after)
        heard = self._heard(cut)
        if not heard and caller.derives:
            heard = None
        next_ = await caller.say(f"and now {self.name}", turn="next", heard=None if heard is None else ("cut", heard))
        await quiet(backend, self.name)
        last = await caller.say(f"at last {self.name}", turn="last")

        assert cut.hung_up
        for reply in (next_, last):
            assert reply.status == 200
            assert reply.ended_once
            assert reply.text.endswith("Here I am again.")
        before, after = (request_for(gemini, f"{w} {self.name}").body for w in ("and now", "at last"))
        self._check_words(cut, heard, before)
        assert caller_said(after).count(f"go {self.script} {self.name}") == 1
        assert caller_said(after).count(f"and now {self.name}") == 1
        assert caller_said(after).count("⟦system: Finished meanwhile:") <= 1
        each_action_once(deeds.done(self.name), after)

    def _heard(self, cut: Reply) -> str | None:
        """What the platform reports: nothing, what came, or half of it as a synthesiser may write it."""
        if self.context == "none":
            return None
        came = cut.text.split()
        if self.context == "all":
            return " ".join(came)
        return "  ".join(came[: len(came) // 2]).upper().replace(",", "").replace(";", " -")

    def _check_words(self, cut: Reply, heard: str | None, body: dict[str, Any]) -> None:
        """Remembered are the words heard; without a report what was sent, of which all that came is a part."""
        script = SCRIPTS[self.script]
        remembered = answers_in(body)[1 if script.before else 0 :]
        assert len(remembered) <= 1
        came = [e["content"].strip() for _, e in cut.events if e["type"] == "response.tts"]
        own = [(word, line not in script.progress) for line in came for word in words(line)]
        if heard is not None:
            own = own[: len(words(heard))]
        called = bool(results_in(body)[1 if script.before else 0 :])  # then the lead is in the message with the calls
        expected = [word for word, is_own in own if is_own][len(words(script.lead)) if called else 0 :]
        got = words(remembered[0]) if remembered else []
        if heard is not None:
            assert got == expected, f"heard {expected}, remembered {got}"
        else:
            assert got[: len(expected)] == expected, f"sent {expected}, remembered {got}"
            assert " ".join(got) in " ".join(words(whole(script) if called else script.lead + whole(script)))


def whole(script: Script) -> str:
    """All that would be said at the end of a script."""
    parts = [json.loads(part.body) for chunk in script.steps[-1].chunks for part in chunk.parts]
    return "".join(part.get("text", "") for part in parts) or "Book a table for 4 at 7 pm?"


async def quiet_for(backend: Backend, conversation: str) -> None:
    """Wait until nothing of this conversation is at work."""
    agent = backend.agent
    assert agent
    async with asyncio.timeout(5):
        while agent.is_at_work(conversation):
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("script", SCRIPTS)
async def test_whatever_was_heard_is_remembered_and_whatever_was_done_was_done_once(
    gemini: Gemini, start: Any, deeds: Tools, script: str
) -> None:
    """The matrix: cut at every event boundary; without a report, with what came, with half of it in other letters."""
    gemini.answer = model
    await play_all(script, await start(tools_dir=deeds.folder), gemini, deeds, quiet_for)


async def play_all(
    script: str,
    backend: Backend,
    gemini: Gemini,
    deeds: Tools,
    quiet: Callable[[Backend, str], Awaitable[None]],
    at_once: int = _AT_ONCE,
) -> None:
    """Every cell of one script. `quiet` waits until nothing of a conversation is at work."""
    events = await count_events(backend, script)
    contexts: tuple[Context, ...] = ("none", "all", "less")
    cells = [Cell(script, after, context) for after in range(events) for context in contexts[: 2 + (after > 1)]]
    free = asyncio.Semaphore(at_once)

    async def play(cell: Cell) -> None:
        async with free:
            await cell.play(backend, gemini, deeds, quiet)

    failed = await asyncio.gather(*map(play, cells), return_exceptions=True)

    wrong = [f"{cell.name}: {error!r}" for cell, error in zip(cells, failed, strict=True) if error]
    assert not wrong, "\n".join(wrong)


async def count_events(backend: Backend, script: str) -> int:
    """How many events the turn has when nobody interrupts it."""
    caller = backend.caller(f"uncut_{script}")
    if before := SCRIPTS[script].before:
        await caller.say(f"go {before} uncut")
    reply = await caller.say(f"go {script} uncut")
    assert reply.ended_once
    assert words(reply.text)[-3:] == words(whole(SCRIPTS[script]))[-3:]
    return len(reply.events)


# What is closed, and how soon


async def until(true: Any, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.002)


async def arrived(gemini: Gemini, requests: int) -> None:
    await until(lambda: len(gemini.requests) == requests)


async def closing_times(gemini: Gemini, backend: Backend, step: Answer, after: int | None) -> float:
    """The median, in seconds, from before hanging up to the model's connection being closed."""
    taken = []
    for number in range(1, 10):
        gemini.script(step)
        began = time.monotonic()
        talk = asyncio.create_task(backend.caller().say("Tell me", hang_up_after=after))
        if after is None:
            await arrived(gemini, number)
            await asyncio.sleep(0.03)
            hung_up = time.monotonic()
            talk.cancel()
            await asyncio.wait([talk])
        else:
            hung_up = began + (await talk).events[-1][0]
        await until(lambda: gemini.requests[-1].over)
        assert gemini.requests[-1].closed_early
        taken.append((gemini.requests[-1].closed_at or 0) - hung_up)
    await quiet(backend)
    return statistics.median(taken)


async def test_the_models_connection_closes_within_50_ms(gemini: Gemini, start: Any) -> None:
    """While it streams, and while its first token is waited for."""
    backend: Backend = await start()
    streaming = await closing_times(gemini, backend, text("word " * 200, delay=0.02), after=3)
    gemini.requests.clear()
    waiting = await closing_times(gemini, backend, stall(5, text("late")), after=None)
    print(f"closed after {1000 * streaming:.1f} ms while streaming, {1000 * waiting:.1f} ms before the first token")
    assert streaming < 0.05
    assert waiting < 0.05


@pytest.mark.parametrize("tool", ["order", "pay", "label", "stubborn", "fetch"])
async def test_the_next_turn_does_not_wait_for_a_tool(gemini: Gemini, start: Any, deeds: Tools, tool: str) -> None:
    """Be it one that finishes, one in a thread, or one that will not be cancelled: the bound is 250 ms."""
    needed = {"order": {"thing": "soup"}, "fetch": {"city": "Rome"}}.get(tool, {})
    gemini.script(calls((tool, {**needed, "seconds": 0.8})), text("Yes?"), text("Good."))
    backend: Backend = await start(tools_dir=deeds.folder)
    caller = backend.caller("c1")
    cut = asyncio.create_task(caller.say("Do it"))
    await deeds.until("c1", f"{tool} began")
    cut.cancel()
    began = time.monotonic()
    assert (await caller.say("Stop!")).text == "Yes?"
    asked = gemini.requests[1].started - began
    assert asked < 0.25
    status = results_in(gemini.requests[1].body)
    assert status == [(tool, "fetch was stopped, as the caller interrupted. It has no result.")] or (
        tool != "fetch" and status == [(tool, STILL_RUNNING)]
    )
    await quiet(backend)
    await caller.say("And?")
    each_action_once(deeds.done("c1"), gemini.requests[2].body)


async def test_two_callers_do_not_wait_for_each_other(gemini: Gemini, start: Any, deeds: Tools) -> None:
    """An interruption is a matter of one conversation."""
    gemini.script(text("one two three four five six", delay=0.05), text("Quick."))
    backend: Backend = await start(tools_dir=deeds.folder)
    slow = asyncio.create_task(backend.caller("c1").say("Count"))
    await until(lambda: gemini.requests)
    assert (await backend.caller("c2").say("Hello")).text == "Quick."
    assert not slow.done()
    assert (await slow).text == "one two three four five six"
