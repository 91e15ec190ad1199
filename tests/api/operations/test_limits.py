"""What there is too much of is refused or cut, early and in words; nobody else notices."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from agent.turns.limit import ConcurrencyLimit, TooBusy
from api.operations.rate import Rate, network_of
from api.platforms.layercode.events import MAX_TEXT, Message, parse
from api.platforms.metadata import MAX_METADATA
from api.testing import call, conversation, scripted_model
from tests.support.backend import Backend, Reply, signed
from tests.support.gemini import Gemini, Json, Step, said, text

SLOWLY = text(" ".join(f"word{n}" for n in range(40)), delay=0.1)


async def post(backend: Backend, body: Any) -> Any:
    return await backend.http.post(f"{backend.url}/api/agent", **signed(body))


def message(conversation: str, turn: str, **more: Any) -> Json:
    return {"type": "message", "conversation_id": conversation, "turn_id": turn, "text": f"I am {turn}", **more}


async def rows(backend: Backend, query: str) -> list[Any]:
    assert backend.agent
    return [row[0] for row in await backend.agent._journal._database.fetch(query)]


# Turns


async def test_a_turn_too_many_is_told_to_come_again_and_nothing_is_kept_of_it(gemini: Gemini, start: Any) -> None:
    gemini.answer = lambda _: SLOWLY
    backend: Backend = await start(max_turns=2)
    talking = [asyncio.create_task(backend.caller().say("Go on")) for _ in range(2)]
    await asyncio.sleep(0.5)
    began = time.monotonic()
    response = await post(backend, message("c3", "t1"))
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert response.json() == {"error": "Too many turns are running."}
    assert time.monotonic() - began < 2.5
    assert await rows(backend, "SELECT turn FROM turns WHERE conversation = 'c3'") == []
    assert [reply.ended_once for reply in await asyncio.gather(*talking)] == [True, True]
    assert (await post(backend, message("c3", "t1"))).status_code == 200


async def test_a_turn_waits_a_moment_for_a_place(gemini: Gemini, start: Any) -> None:
    gemini.answer = lambda _: text("one two three four", delay=0.1)
    backend: Backend = await start(max_turns=2)
    replies = await asyncio.gather(*(backend.caller().say("Hello?") for _ in range(4)))
    assert [reply.text for reply in replies] == ["one two three four"] * 4


async def test_a_duplicate_needs_no_place(gemini: Gemini, start: Any) -> None:
    gemini.answer = lambda _: SLOWLY
    backend: Backend = await start(max_turns=1)
    caller = backend.caller()
    first, again = await asyncio.gather(caller.say("Hello?", turn="t"), caller.say("Hello?", turn="t"))
    assert first.raw == again.raw
    assert again.ended_once


async def test_a_flood_in_one_conversation_ends_in_its_newest_message(gemini: Gemini, start: Any) -> None:
    """The turns do not pile up, others get through, and what was taken is known."""

    def answer(body: Json) -> Step:
        return text("I hear you.") if said(body).endswith("the last") else SLOWLY

    gemini.answer = answer
    backend: Backend = await start(max_turns=100)
    assert backend.agent
    caller, flood, most = backend.caller("flood"), [], 0
    for n in range(36):
        flood.append(asyncio.create_task(caller.say(f"This is {n}", turn=f"t{n}")))
        await asyncio.sleep(0.005)
        most = max(most, backend.agent.open_turns)
    assert (await backend.caller("other").say("I am the last")).text == "I hear you."
    last = await caller.say("I am the last", turn="last")
    replies: list[Reply] = await asyncio.gather(*flood)
    assert last.text == "I hear you."
    assert most < 22, most
    assert {reply.status for reply in replies} <= {200, 503}
    assert all(reply.ended_once for reply in replies if reply.status == 200)
    await caller.say("What was said? I am the last", turn="after")
    shown = str(
        [request.body["contents"] for request in gemini.requests]
    )  # the memory's cap may have dropped the first
    assert not [n for n, reply in enumerate(replies) if reply.status == 200 and f"This is {n}" not in shown]


# Data and notes


async def test_data_is_kept_as_far_as_anybody_reads_it(start: Any) -> None:
    backend: Backend = await start()
    assert backend.agent
    for n in range(230):
        await backend.agent.note("c1", f"d{n}", "data", {"n": n})
    kept = await rows(backend, "SELECT body FROM notes WHERE conversation = 'c1' ORDER BY at")
    assert len(kept) <= 201
    assert json.loads(kept[-1]) == {"n": 229}


async def test_a_large_data_webhook_is_refused(start: Any) -> None:
    backend: Backend = await start()
    body = {"type": "data", "conversation_id": "c1", "turn_id": "t0", "data": "x" * 70_000}
    assert (await post(backend, body)).status_code == 413
    assert (await post(backend, {**body, "data": "x" * 60_000})).status_code == 200


# Sizes


def parsed(**fields: Any) -> Message:
    event = parse(json.dumps(message("c", "t", **fields)).encode())
    assert isinstance(event, Message)
    return event


def test_what_is_too_long_is_cut_as_the_caller_shall_have_an_answer() -> None:
    assert len(parsed(text="x" * 50_000).text) == MAX_TEXT
    context = {"previous_turn_interrupted": True, "text_heard": "y" * 50_000}
    interruption = parsed(interruption_context=context).interruption_context
    assert interruption
    assert len(interruption.text_heard or "") == MAX_TEXT


def test_too_much_metadata_and_too_long_a_number_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    event = parsed(metadata={"a": "b"}, custom_metadata={"a": "x" * MAX_METADATA}, from_phone_number="4" * 300)
    assert (event.metadata, event.custom_metadata, event.from_phone_number) == ({"a": "b"}, {}, None)
    assert "larger than 16000" in caplog.text


# Tools

TOOLS = '''
import asyncio, threading, time
from agent import voice_tool

now, most = 0, 0

@voice_tool(at_once=2, timeout=10)
async def crowded(n: int) -> str:
    """Counts who is inside."""
    global now, most
    now += 1
    most = max(most, now)
    await asyncio.sleep(0.05)
    now -= 1
    return f"{most} at most"

@voice_tool(at_once=1, timeout=0.4, on_barge_in="cancel")
async def narrow(n: int) -> str:
    """Takes long."""
    await asyncio.sleep(0.3)
    return "through"

threads = 0

@voice_tool(timeout=20)
def blocks(n: int) -> str:
    """Counts the threads of the process."""
    global threads
    time.sleep(0.02)
    threads = max(threads, threading.active_count())
    return f"{threads} threads"

@voice_tool(at_once=1, timeout=0.2)
def stuck(n: int) -> str:
    """Blocks its thread for longer than it may take."""
    time.sleep(0.8)
    return "late"
'''


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "crowd.py").write_text(TOOLS)
    return folder


async def results(tools: Path, name: str, count: int, pause: float = 0) -> list[str]:
    """What the model is told of calls made at once."""
    model = scripted_model([call(name, n=n) for n in range(count)], "Done.", call(name, n=99), "Done.")
    async with conversation(model, tools=tools) as talk:
        await talk.say("All at once")
        await asyncio.sleep(pause)
        await talk.say("Once more")
        turns = talk._turns.values()
    shown = [call.messages for turn in turns for call in turn.model_calls][-1]
    return [message.text for message in shown if message.type == "tool"]


async def test_a_tool_runs_so_many_times_at_once_and_the_others_wait(tools: Path) -> None:
    assert await results(tools, "crowded", 8) == ["2 at most"] * 9


async def test_an_answer_with_hundreds_of_calls_does_not_make_a_thread_for_each(tools: Path) -> None:
    told = await results(tools, "blocks", 300)
    assert len(told) == 301
    assert max(int(line.split()[0]) for line in told) < 80


async def test_waiting_counts_as_the_tools_own_time(tools: Path) -> None:
    """It waits for 0.3 of its 0.4 seconds."""
    late = "narrow did not answer within 0.4 seconds and has no result."
    assert await results(tools, "narrow", 2) == ["through", late, "through"]


async def test_a_thread_that_nobody_waits_for_keeps_its_place(tools: Path) -> None:
    """Else stuck threads would pile up."""
    told = await results(tools, "stuck", 2)
    assert [line.split(":")[0] for line in told].count("stuck was not started") == 2


# The pieces


async def test_a_gate_has_places_a_queue_and_no_more() -> None:
    gate = ConcurrencyLimit(1, queue=1, patience=0.2)
    await gate.enter()
    waiting = asyncio.create_task(gate.enter())
    await asyncio.sleep(0)
    with pytest.raises(TooBusy):
        await gate.enter()
    gate.leave()
    await waiting
    with pytest.raises(TooBusy):
        await gate.enter()


def test_a_rate_is_refilled_with_time_and_counts_each_key_for_itself() -> None:
    now = 0.0
    rate = Rate(2, clock=lambda: now)
    assert [rate.wait("a"), rate.wait("a"), rate.wait("b")] == [0, 0, 0]
    assert rate.wait("a") == pytest.approx(30)
    now = 29.0
    assert rate.wait("a") == pytest.approx(1)
    now = 30.1
    assert rate.wait("a") == 0
    assert rate.wait("a") > 29


def test_a_rate_remembers_so_many_keys_and_forgets_the_oldest() -> None:
    rate = Rate(1, keys=100)
    for n in range(10_000):
        rate.wait(str(n))
    assert len(rate._buckets) == 100
    assert rate.wait("9999") > 0


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_one_customer_is_one_network(address: str, network: str) -> None:
    assert network_of(address) == network


# A large webhook


@pytest.mark.parametrize("line", [{}, {"text": "x"}, [[[]]]])
async def test_a_webhook_as_large_as_may_be_holds_nobody_up(start: Any, line: Any) -> None:
    """While it is read, others' turns go on."""
    backend: Backend = await start()
    count = 1_000_000 // (len(json.dumps(line)) + 2)
    body = {"type": "session.end", "conversation_id": "c", "session_id": "s", "transcript": [line] * count}
    request, longest = signed(body), 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.005)
            longest = max(longest, time.monotonic() - began)

    ticking = asyncio.create_task(tick())
    answer = await backend.http.post(f"{backend.url}/api/agent", **request)
    ticking.cancel()
    assert answer.status_code == 200
    assert longest < 0.4
    [kept] = await rows(backend, "SELECT body FROM notes WHERE kind = 'ended'")
    assert len(kept) < 1_000_000
