"""Long conversations: older turns become a summary, made beside the turns and shown in their place."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from agent.memory.history import KEPT_MESSAGES
from agent.storage.forgetting import erase
from agent.storage.open import open_storage
from agent.storage.results import STILL_RUNNING
from agent.summaries import KEPT_WHOLE, SUMMARISED_ABOVE, foldable
from tests.agent.memory.test_history import Messages, ai, human, result
from tests.support.backend import Backend, Caller, backend, served
from tests.support.conversation import Tools, caller_said, question, quiet, request_for, steps_taken
from tests.support.gemini import Answer, Gemini, Request, Step, calls, error, said, stall, text
from tests.support.recordings import project, record_once, replayed, write_tools

TURNS = SUMMARISED_ABOVE // 4 + 1  # of four messages each, until there is a summary
HEAD = "⟦system: Summary of the conversation before this: "


def wants_summary(body: dict[str, Any]) -> bool:
    return "You keep the memory" in json.dumps(body.get("systemInstruction"))


class Model:
    """Orders whatever the caller says, and says so. Its summaries are numbered, or what `summary` has."""

    def __init__(self) -> None:
        self.summaries = 0
        self.summary: list[Step] = []

    def __call__(self, body: dict[str, Any]) -> Step:
        if wants_summary(body):
            self.summaries += 1
            return self.summary.pop(0) if self.summary else text(f"Summary {self.summaries}.")
        if steps_taken(body):
            return text(f"There is your {question(body)}, freshly made.", delay=0.001)
        return calls(("order", {"thing": question(body), "seconds": 0}))


@pytest.fixture
def model(gemini: Gemini) -> Model:
    gemini.answer = model = Model()
    return model


def asked_for(gemini: Gemini) -> list[Request]:
    """The requests for a summary."""
    return [request for request in list(gemini.requests) if wants_summary(request.body)]


async def talk(caller: Caller, first: int, last: int) -> None:
    for n in range(first, last + 1):
        assert (await caller.say(f"dish{n}")).ended_once


async def summarised(server: Backend) -> None:
    """Until every turn is over, which is when it has a summary made, and none is being made."""
    assert server.agent
    async with asyncio.timeout(10):
        while server.agent.open_turns or server.agent._summaries._making:
            await asyncio.sleep(0.005)


async def test_older_turns_become_a_summary_which_the_next_request_shows(
    gemini: Gemini, model: Model, start: Any, deeds: Tools
) -> None:
    server = await start(tools_dir=deeds.folder)
    caller = server.caller("c1")
    await talk(caller, 1, 1)
    reply = await caller.say("dish2", hang_up_after=3)
    await caller.say("dish3", heard=(reply.turn_id, "There is your"))
    await talk(caller, 4, TURNS)
    await summarised(server)
    await talk(caller, TURNS + 1, TURNS + 1)

    (request,) = asked_for(gemini)
    told = said(request.body)
    assert len(request.body["contents"]) == 1
    assert not request.body.get("tools")
    assert 'Caller: dish1\nAgent calls order({"thing": "dish1", "seconds": 0})' in told
    assert "Result of order: Ordered dish1." in told
    assert "Agent: There is your dish1, freshly made." in told
    assert "There is your dish2, freshly" not in told, "it was not heard"

    contents = request_for(gemini, f"dish{TURNS + 1}").body["contents"]
    assert contents[0]["parts"][0]["text"].startswith(f"{HEAD}Summary 1.⟧\ndish")
    assert len(contents) <= KEPT_WHOLE + 1
    for n in range(1, TURNS + 1):
        assert (f"dish{n}" in json.dumps(contents)) is not (f"dish{n}" in told), "in one of them"


async def test_a_second_summary_takes_in_the_first(gemini: Gemini, model: Model, start: Any, deeds: Tools) -> None:
    server = await start(tools_dir=deeds.folder)
    caller = server.caller("c1")
    for n in range(1, 3 * TURNS):
        await talk(caller, n, n)
        await summarised(server)
    requests = asked_for(gemini)
    assert 2 <= len(requests) <= TURNS, "now and then, not at each turn"
    assert said(requests[1].body).startswith(f"{HEAD}Summary 1.⟧\nCaller: dish")
    newest = caller_said(request_for(gemini, f"dish{3 * TURNS - 1}").body)
    assert newest.count(HEAD) == 1


@pytest.mark.parametrize("failure", [error(500), text(""), stall(2, text("Too late."))], ids=["error", "empty", "slow"])
async def test_a_summary_that_fails_harms_nothing_and_is_made_anew(
    gemini: Gemini, model: Model, start: Any, deeds: Tools, failure: Step
) -> None:
    model.summary = [failure]
    server = await start(tools_dir=deeds.folder)
    caller = server.caller("c1")
    await talk(caller, 1, TURNS)
    began = time.monotonic()
    reply = await caller.say(f"dish{TURNS + 1}")
    assert reply.text == f"There is your dish{TURNS + 1}, freshly made."
    assert time.monotonic() - began < 2, "the turn has waited"
    assert "dish1" in caller_said(request_for(gemini, f"dish{TURNS + 1}").body).split("\n")
    if isinstance(failure, Answer) and failure.stall:
        assert model.summaries == 1, "one at a time"
        return
    await summarised(server)
    await talk(caller, TURNS + 2, TURNS + 2)
    assert caller_said(request_for(gemini, f"dish{TURNS + 2}").body).startswith(f"{HEAD}Summary 2.⟧")


async def test_a_summary_is_made_by_the_fallback_and_leaves_a_model_alone_whose_circuit_is_open(
    gemini: Gemini, model: Model, start: Any, deeds: Tools
) -> None:
    server = await start(tools_dir=deeds.folder, model_fallback="google_genai:gemini-fallback")
    assert server.agent
    primary, fallback = server.agent._models.candidates
    model.summary = [error(500)]
    await talk(server.caller("c1"), 1, TURNS)
    await quiet(server)
    await summarised(server)
    assert [request.model for request in asked_for(gemini)] == [primary.name, fallback.name]
    assert primary.breaker._failures == 0, "turns are answered all the same"
    for _ in range(5):
        primary.breaker.failed(asyncio.get_running_loop().time())
    await talk(server.caller("c2"), 1, TURNS)
    await quiet(server)
    await summarised(server)
    assert [request.model for request in asked_for(gemini)[2:]] == [fallback.name]


async def test_without_any_summary_the_cap_is_the_limit(gemini: Gemini, model: Model, start: Any, deeds: Tools) -> None:
    model.summary = [error(500)] * 20
    await talk((await start(tools_dir=deeds.folder)).caller("c1"), 1, 16)
    assert len(request_for(gemini, "dish16").body["contents"]) == KEPT_MESSAGES + 1


async def test_a_process_killed_while_it_summarises_loses_nothing(
    gemini: Gemini, model: Model, deeds: Tools, tmp_path: Path
) -> None:
    model.summary = [stall(60, text("Never."))]
    database = f"sqlite:///{tmp_path}/voice.db"
    env = {"GOOGLE_API_KEY": "k", "GOOGLE_GEMINI_BASE_URL": gemini.url, "DATABASE_URL": database}
    async with served(**env, TOOLS_DIR=str(deeds.folder)) as killed:
        await talk(killed.caller("c1"), 1, TURNS)
        async with asyncio.timeout(5):
            while not asked_for(gemini):
                await asyncio.sleep(0.01)
        assert killed.process
        killed.process.kill()
    settings: dict[str, Any] = {"google_api_key": "k", "google_gemini_base_url": gemini.url, "tools_dir": deeds.folder}
    async with backend(database_url=database, **settings) as server:
        caller = server.caller("c1")
        caller.turns = TURNS
        await talk(caller, TURNS + 1, TURNS + 1)
        await summarised(server)
    async with backend(database_url=database, **settings) as server:
        caller = server.caller("c1")
        caller.turns = TURNS + 1
        await talk(caller, TURNS + 2, TURNS + 2)
    assert "dish1" in caller_said(request_for(gemini, f"dish{TURNS + 1}").body).split("\n")
    assert caller_said(request_for(gemini, f"dish{TURNS + 2}").body).startswith(f"{HEAD}Summary 2.⟧")


async def test_of_a_forgotten_conversation_no_summary_is_kept(
    gemini: Gemini, model: Model, start: Any, deeds: Tools, tmp_path: Path
) -> None:
    model.summary = [stall(0.5, text("They had dishes."))]
    server = await start(tools_dir=deeds.folder)
    await talk(server.caller("c1"), 1, TURNS)
    await quiet(server)
    assert server.agent
    assert server.agent._summaries._making
    async with open_storage(f"sqlite:///{tmp_path}/voice.db") as storage:
        assert (await erase(storage, "c1"))["turns"] == TURNS
        await summarised(server)
        assert model.summaries == 1
        assert await storage.database.fetch("SELECT * FROM summaries") == []


def test_a_summary_is_an_input_of_a_run_file(tmp_path: Path) -> None:
    """Its replay has no model to ask, takes the summary in at the same turn, and gives the same file."""

    async def play(caller: Caller) -> None:
        for n in range(1, TURNS + 3):
            await caller.say(f"Tea number {n}, for +49 30 1234567", turn=f"t{n}")
            await asyncio.sleep(0.3 if n == TURNS else 0)

    turns = [[calls(("order", {"thing": "tea", "seconds": 0.01})), text("Here you are.")] for _ in range(TURNS + 2)]
    steps: list[Step] = [step for turn in turns for step in turn]
    steps.insert(2 * TURNS, text("They had tea, and are called back at +49 30 1234567."))
    run = record_once(tmp_path, tools := write_tools(tmp_path / "tools"), play, *steps)

    assert [turn.webhook["turn_id"] for turn in run.turns if turn.summary] == [f"t{TURNS + 1}"]
    taken = run.turns[TURNS].summary
    assert taken
    assert taken.text == "They had tea, and are called back at +00 00 0000000."
    came = replayed(run, project(tools))
    for turn in (f"t{TURNS + 1}", f"t{TURNS + 2}"):
        (first, *_), *_ = (call.messages[1:] for call in came.turns[turn].model_calls)
        assert first.text.startswith(f"{HEAD}{taken.text}⟧\nTea")


def test_a_call_that_still_runs_is_not_folded_nor_what_came_after() -> None:
    """Its result will take the place of those words."""
    messages: Messages = []
    for n in range(20):
        messages += [human(f"Q{n}", f"t{n}"), ai("", f"t{n}/0", [f"c{n}"]), result(f"c{n}"), ai("A", f"t{n}/1")]
    assert foldable(messages, 16) == messages[:64]
    messages[4 * 3 + 2] = result("c3", STILL_RUNNING)
    assert foldable(messages, 16) == messages[:12]
    assert foldable(messages[12:], 16) == []
