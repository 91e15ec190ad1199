"""Several workers on one Postgres: any of them may get any webhook."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from agent.storage.entries import Admission
from agent.storage.results import STILL_RUNNING
from agent.turns import TurnRequest
from api.settings import Settings
from tests.support.backend import Backend
from tests.support.conversation import (
    Tools,
    answers_in,
    caller_said,
    question,
    quiet,
    requests_for,
    results_in,
    steps_taken,
)
from tests.support.gemini import Answer, Gemini, calls, stall, text

SOUP = ("order", {"thing": "soup", "seconds": 0.5})


def model(body: dict[str, Any]) -> Answer:
    """Does what the caller asks for in words of one kind; else, or with a result, it says a sentence."""
    if steps_taken(body):
        return text("That is that.")
    match question(body).split()[0]:
        case "soup":
            return calls(SOUP)
        case "count":
            return text("one two three four five six seven eight", delay=0.1)
        case "think":
            return stall(60, text("late"))
        case _:
            return text("Here I am.")


@pytest.fixture
async def two(gemini: Gemini, start: Any, deeds: Tools, postgres_url: str) -> tuple[Backend, Backend]:
    """Two workers, in this process."""
    gemini.answer = model
    one, other = [await start(tools_dir=deeds.folder, database_url=postgres_url) for _ in range(2)]
    return one, other


async def until(true: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


async def rows(url: str, query: str, *values: Any) -> list[Any]:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        return await (await connection.execute(query, values)).fetchall()


async def test_a_turn_on_another_worker_is_interrupted_by_a_newer_one(
    gemini: Gemini, two: tuple[Backend, Backend]
) -> None:
    """Its line is still open: it ends at once, its words are remembered, and the newer one does not wait for long."""
    old = asyncio.create_task(two[0].caller("c1").say("count", turn="t1"))
    await until(lambda: gemini.requests and gemini.requests[0].tokens)
    began = time.monotonic()
    assert (await two[1].caller("c1").say("hello", turn="t2")).text == "Here I am."
    waited = requests_for(gemini, "hello")[0].started - began
    print(f"the newer turn asked the model after {1000 * waited:.0f} ms")
    assert (await old).ended_once
    assert not (await old).text.endswith("eight")
    body = requests_for(gemini, "hello")[0].body
    assert answers_in(body) == [(await old).text.strip()]
    assert caller_said(body).startswith("count\n")
    assert waited < 1


async def test_turns_of_one_conversation_on_both_workers_are_remembered_in_order(
    gemini: Gemini, two: tuple[Backend, Backend]
) -> None:
    for n in range(6):
        assert (await two[n % 2].caller("c1").say(f"number {n}", turn=f"t{n}")).text == "Here I am."
    await two[0].caller("c1").say("last")
    said = caller_said(requests_for(gemini, "last")[0].body).split("\n")
    assert said == [*(f"number {n}" for n in range(6)), "last"]


async def test_many_at_the_same_instant_on_both_are_all_remembered(
    gemini: Gemini, two: tuple[Backend, Backend]
) -> None:
    replies = await asyncio.gather(*(two[n % 2].caller("c1").say(f"number {n}.", turn=f"t{n}") for n in range(10)))
    assert all(reply.ended_once for reply in replies)
    await two[0].caller("c1").say("last")
    said = caller_said(requests_for(gemini, "last")[0].body)
    assert [said.count(f"number {n}.") for n in range(10)] == [1] * 10


async def test_of_two_at_the_same_instant_the_higher_number_wins(
    gemini: Gemini, two: tuple[Backend, Backend], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the lower one, entered first on a connection of its own, comes to be run after it: its line ends at
    once, and its words are remembered."""
    agent = two[0].agent
    assert agent
    admit = agent._journal.admit

    async def held_up(asked: TurnRequest) -> Admission:
        entry = await admit(asked)
        if asked.turn_id == "lower":
            await asyncio.sleep(0.3)
        return entry

    monkeypatch.setattr(agent._journal, "admit", held_up)
    lower = asyncio.create_task(two[0].caller("c1").say("hello lower", turn="lower"))
    await asyncio.sleep(0.1)
    higher = asyncio.create_task(two[0].caller("c1").say("count higher", turn="higher"))
    assert (await lower).ended_once
    assert not higher.done()
    assert (await higher).text.endswith("eight")
    await two[0].caller("c1").say("and now", turn="t3")
    said = caller_said(requests_for(gemini, "and now")[0].body)
    assert (said.count("hello lower"), said.count("count higher")) == (1, 1)


async def test_a_turn_that_came_just_now_has_not_crashed(two: tuple[Backend, Backend]) -> None:
    """Though the one before it, which looks for what has crashed, did not know of it when it began to look."""
    agent = two[0].agent
    assert agent
    older, newer = TurnRequest("c1", "t1", text="One"), TurnRequest("c1", "t2", text="Two")
    for asked in (older, newer):
        await agent._journal.admit(asked)
    assert (await agent._journal.pending_context(older, {older.key}, ())).crashed == []
    assert [crashed.request for crashed in (await agent._journal.pending_context(newer, {newer.key}, ())).crashed] == [
        older
    ]


async def test_a_duplicate_on_another_worker_waits_and_gets_the_same_bytes(
    gemini: Gemini, two: tuple[Backend, Backend], deeds: Tools
) -> None:
    """One run, however many ask for it, wherever: while it runs, and afterwards."""
    sent = [asyncio.create_task(two[n % 2].caller("c1").say("soup", turn="t1")) for n in range(6)]
    replies = await asyncio.gather(*sent)
    replies.append(await two[1].caller("c1").say("soup", turn="t1"))
    assert len({reply.raw for reply in replies}) == 1
    assert replies[0].text == "That is that."
    assert deeds.done("c1") == {"order began": 1, "order done": 1}
    assert len(gemini.requests) == 2


async def test_a_duplicate_that_leaves_does_not_interrupt_the_turn_on_the_other_worker(
    gemini: Gemini, two: tuple[Backend, Backend]
) -> None:
    first = asyncio.create_task(two[0].caller("c1").say("count", turn="t1"))
    await until(lambda: gemini.requests)
    assert (await two[1].caller("c1").say("count", turn="t1", hang_up_at=0.3)).hung_up
    assert (await first).text.endswith("eight")


async def test_a_tool_that_outlives_its_turn_is_told_of_by_another_worker(
    gemini: Gemini, two: tuple[Backend, Backend], deeds: Tools
) -> None:
    """While it is at work the other worker knows that too."""
    cut = asyncio.create_task(two[0].caller("c1").say("soup", turn="t1"))
    await deeds.until("c1", "order began")
    cut.cancel()
    await asyncio.wait([cut])
    await two[1].caller("c1").say("and now", turn="t2")
    assert results_in(requests_for(gemini, "and now")[0].body) == [("order", STILL_RUNNING)]
    await quiet(two[0])
    await two[1].caller("c1").say("well", turn="t3")
    body = requests_for(gemini, "well")[0].body
    assert results_in(body) == [("order", "Ordered soup.")]
    assert "⟦system: Finished meanwhile: order." in caller_said(body)
    assert deeds.done("c1") == {"order began": 1, "order done": 1}


async def test_a_worker_that_leaves_in_order_hands_its_tools_result_on(
    gemini: Gemini, start: Any, deeds: Tools, postgres_url: str
) -> None:
    """It drains: the turn has ended, the tool has not; another worker tells of it."""
    gemini.answer = model
    stays: Backend = await start(tools_dir=deeds.folder, database_url=postgres_url)
    leaves: Backend = await start(tools_dir=deeds.folder, database_url=postgres_url)
    await leaves.caller("c1").say("soup", turn="t1", hang_up_after=1)
    assert leaves.agent
    await leaves.agent.drain(5)
    await stays.caller("c1").say("well", turn="t2")
    assert results_in(requests_for(gemini, "well")[0].body) == [("order", "Ordered soup.")]


async def test_a_turn_that_failed_on_one_worker_is_run_by_whichever_is_asked_again(
    gemini: Gemini, two: tuple[Backend, Backend], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = two[0].agent
    assert agent

    async def broken(*_: Any) -> None:
        raise RuntimeError("the secret is 42")

    monkeypatch.setattr(agent._conversations, "converse", broken)
    assert (await two[0].caller("c1").say("hello", turn="t1")).text == Settings(_env_file=None).apology_message
    began = time.monotonic()
    assert (await two[1].caller("c1").say("hello", turn="t1")).text == "Here I am."
    assert time.monotonic() - began < 5


async def test_a_duplicate_of_a_turn_that_does_not_end_elsewhere_gets_the_apology(
    gemini: Gemini, start: Any, postgres_url: str
) -> None:
    backend: Backend = await start(database_url=postgres_url, turn_timeout_seconds=1.0)
    await rows(
        postgres_url,
        "WITH other AS (INSERT INTO workers VALUES ('other', extract(epoch FROM clock_timestamp()) + 60))"
        " INSERT INTO turns (conversation, turn, kind, asked, state, started, number, worker)"
        " VALUES ('c1', 't1', 'message', '{}', 'running', 0, 1, 'other') RETURNING 1",
    )
    reply = await backend.caller("c1").say("hello", turn="t1")
    assert reply.text == Settings(_env_file=None).apology_message
    assert reply.ended_once
