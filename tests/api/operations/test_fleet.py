"""`voice serve --workers 4`: four processes on one Postgres, any of which may get any webhook.

The same processes serve every test here; what is killed or told to end is replaced by their parent.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.storage.results import UNKNOWN
from tests.agent import test_storm
from tests.agent.test_storm import Storm, converse
from tests.agent.turns import test_barge_in
from tests.support.backend import SECRET, Backend, Caller, client, free_port, process
from tests.support.conversation import Tools, answers_in, caller_said, question, requests_for, results_in, steps_taken
from tests.support.gemini import Gemini, Step, calls, text
from tests.support.postgres import Server
from tests.support.processes import Process

WORKERS = 4
SLACK = 1.0  # seconds, for a machine that is busy with other things


@dataclass
class Fleet:
    port: int
    database: str
    deeds: Tools
    gemini: Gemini
    folder: Path
    parent: Process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def rows(self, query: str, *values: Any) -> list[Any]:
        with psycopg.connect(self.database, autocommit=True) as connection:
            return connection.execute(query, values).fetchall()

    def workers(self) -> list[int]:
        """The processes that have been seen a moment ago."""
        try:
            seen = self.rows("SELECT id FROM workers WHERE seen > extract(epoch FROM clock_timestamp()) - 2.5")
        except psycopg.errors.UndefinedTable:  # the parent is making the tables
            return []
        return [pid for (name,) in seen if alive(pid := int(name.split(":")[1]))]

    async def complete(self) -> None:
        """All workers serve."""
        async with asyncio.timeout(180):
            while len(await asyncio.to_thread(self.workers)) < WORKERS:
                await asyncio.sleep(0.1)

    async def runs(self, conversation: str) -> int:
        """The process that runs a conversation's turn."""
        async with asyncio.timeout(10):
            while True:
                query = "SELECT worker FROM turns WHERE conversation = %s AND state = 'running'"
                if found := await asyncio.to_thread(self.rows, query, conversation):
                    return int(found[0][0].split(":")[1])
                await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def model(body: dict[str, Any]) -> Step:
    """The scripts of the matrix; `soup`; `count`; what the storm asks for."""
    match question(body).split():
        case ["go", *_] | ["and", "now", *_] | ["at", "last", *_]:
            return test_barge_in.model(body)
        case ["soup", *_]:
            return text("That is that.") if steps_taken(body) else calls(("order", {"thing": "soup", "seconds": 60}))
        case ["rolls", *_]:
            return text("Here I am.") if steps_taken(body) else calls(("order", {"thing": "rolls", "seconds": 0.2}))
        case ["count", *_]:
            return text("one two three four five six seven eight", delay=0.1)
        case ["recite", *_]:
            return text(" ".join(f"verse{n}" for n in range(30)), delay=0.1)
        case ["record" | "tell", *_]:
            return test_storm.answer(body)
        case _:
            return text("Here I am.")


@pytest.fixture(scope="module")
def fleet(postgres_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder, port = tmp_path_factory.mktemp("fleet"), free_port()
    deeds = Tools(folder / "tools")
    (folder / "tools" / "record.py").write_text(test_storm.TOOL)
    with Gemini() as gemini:
        gemini.answer = model
        env = {
            "LAYERCODE_WEBHOOK_SECRET": SECRET, "GOOGLE_API_KEY": "test-key", "GOOGLE_GEMINI_BASE_URL": gemini.url,
            "DATABASE_URL": postgres_server.new(), "TOOLS_DIR": str(deeds.folder), "FIRST_TOKEN_SECONDS": "30",
            "RECORDED": str(folder / "recorded"), "LOG_LEVEL": "warning", **test_storm.platforms_on(),
        }  # fmt: skip
        with process(["serve", "--workers", str(WORKERS), "--port", str(port)], **env) as parent:
            serving = Fleet(port, env["DATABASE_URL"], deeds, gemini, folder, parent)
            asyncio.run(serving.complete())
            yield serving
        gemini.verify()


@pytest.fixture
async def backend(fleet: Fleet) -> Any:
    await fleet.complete()
    async with client() as http:
        yield Backend(fleet.url, http)


@pytest.mark.parametrize("script", test_barge_in.SCRIPTS)
async def test_the_matrix_of_interruptions_holds_on_workers_at_random(
    fleet: Fleet, backend: Backend, script: str
) -> None:
    async def quiet(_: Backend, conversation: str) -> None:
        async with asyncio.timeout(10):
            while await asyncio.to_thread(fleet.rows, _AT_WORK, *[conversation] * 2):
                await asyncio.sleep(0.02)

    await test_barge_in.play_all(script, backend, fleet.gemini, fleet.deeds, quiet, at_once=6)
    scattered = fleet.rows("SELECT count(DISTINCT worker) FROM turns WHERE conversation LIKE %s", f"{script}_%")
    assert scattered[0][0] > 1


_AT_WORK = (
    "SELECT 1 FROM turns WHERE conversation = %s AND state = 'running' UNION ALL"
    " SELECT 1 FROM tool_calls WHERE conversation = %s AND state = 'started'"
)


async def test_a_storm_on_workers_at_random(fleet: Fleet, backend: Backend) -> None:
    storm = Storm()
    began = time.monotonic()
    them = test_storm.callers(fleet.port, backend.http, "calm")
    await asyncio.gather(*(converse(caller, storm, n) for n, caller in enumerate(them)))
    print(f"{storm.turns} turns in {time.monotonic() - began:.1f} s")
    await asyncio.sleep(0.5)
    test_storm.check(storm, fleet.gemini, fleet.folder)
    assert not storm.unended


async def test_a_storm_with_a_worker_killed_every_few_seconds(fleet: Fleet, backend: Backend) -> None:
    storm, chance, kills = Storm(), random.Random(1), 0
    them = test_storm.callers(fleet.port, backend.http, "killed")
    talking = asyncio.gather(*(converse(caller, storm, n) for n, caller in enumerate(them)))
    while not talking.done():
        await asyncio.wait([talking], timeout=1.5)
        if not talking.done() and len(pids := await asyncio.to_thread(fleet.workers)) > 1:
            os.kill(chance.choice(pids), signal.SIGKILL)
            kills += 1
    await talking
    print(f"{storm.turns} turns, {kills} workers killed")
    assert kills > 1
    test_storm.check(storm, fleet.gemini, fleet.folder)


async def test_a_rolling_restart_fails_no_turn(fleet: Fleet, backend: Backend) -> None:
    """While a steady load runs, of tools and on connections that are kept too, a worker is told to end; then each of
    them, one after another, by SIGHUP to the parent."""
    before, done, replies, again = fleet.workers(), asyncio.Event(), [], 0

    async def talk(number: int) -> None:
        caller = backend.caller(f"rolling{number}")
        while not done.is_set():
            replies.append(await caller.say("hello", turn=f"t{caller.turns}"))
            await asyncio.sleep(0.1)

    async def order(caller: Caller) -> None:
        nonlocal again
        while not done.is_set():
            turn = f"t{caller.turns}"
            try:
                reply = await caller.say("rolls", turn=turn)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                again += 1  # the server has closed it at that moment, as it may: what is safe is sent once more
                reply = await caller.say("rolls", turn=turn)
            replies.append(reply)
            orders[caller.conversation] += 1
            await asyncio.sleep(0.05)

    orders: Counter[str] = Counter()
    kept = httpx.AsyncClient(timeout=60, limits=httpx.Limits(keepalive_expiry=60))
    keeping = [Backend(fleet.url, kept).caller(f"keeping{number}") for number in range(3)]
    talking = [asyncio.create_task(talk(number)) for number in range(4)]
    talking += [asyncio.create_task(order(caller)) for caller in keeping]
    os.kill(before[0], signal.SIGTERM)
    await until(lambda: not alive(before[0]), 60)
    fleet.parent.send_signal(signal.SIGHUP)
    await until(lambda: not any(map(alive, before)), 240)
    await fleet.complete()
    done.set()
    await asyncio.gather(*talking)
    await kept.aclose()
    print(f"{len(replies)} turns, {again} sent again")
    for caller in keeping:
        count = orders[caller.conversation]
        assert count > 5
        assert fleet.deeds.done(caller.conversation) == {"order began": count, "order done": count}
    assert not set(before) & set(fleet.workers())
    assert len(replies) > 50
    wrong = [reply for reply in replies if (reply.status, reply.text) != (200, "Here I am.") or not reply.ended_once]
    assert not wrong, f"{len(wrong)} of {len(replies)}: {wrong[:3]}"


async def test_metrics_of_all_workers_come_from_whichever_is_asked(fleet: Fleet, backend: Backend) -> None:
    """Counters go on when a worker is killed; what it had open is not counted any more."""

    async def figures() -> dict[str, float]:
        text = (await backend.http.get(f"{fleet.url}/metrics")).text
        found: defaultdict[str, float] = defaultdict(float)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[sample.name] += sample.value
        return found

    async with asyncio.timeout(10):
        while (await figures())["voice_open_turns"]:
            await asyncio.sleep(0.05)
    begun = await figures()
    await asyncio.gather(*(backend.caller(f"metered{n}").say("hello") for n in range(12)))
    async with asyncio.timeout(10):
        while (await figures())["voice_turns_total"] < begun["voice_turns_total"] + 12:  # the last are being journalled
            await asyncio.sleep(0.05)
    for _ in range(8):
        now = await figures()
        assert now["voice_turns_total"] - begun["voice_turns_total"] == 12
        assert now["voice_open_turns"] == 0
    cut = asyncio.create_task(backend.caller("metered").say("recite", turn="t1"))
    pid = await fleet.runs("metered")
    assert (await figures())["voice_open_turns"] == 1
    os.kill(pid, signal.SIGKILL)
    await asyncio.wait([cut])
    await fleet.complete()
    for _ in range(8):
        now = await figures()
        assert now["voice_turns_total"] - begun["voice_turns_total"] == 12
        assert now["voice_open_turns"] == 0


async def test_a_frozen_worker_is_not_waited_for_and_writes_nothing_stale_when_it_wakes(
    fleet: Fleet, backend: Backend
) -> None:
    old = asyncio.create_task(backend.caller("frozen").say("count frozen", turn="t1"))
    pid = await fleet.runs("frozen")
    await until(lambda: any(r.tokens for r in requests_for(fleet.gemini, "count frozen")))
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(0.1)
        reply, began = await say_to_another(fleet, backend, "frozen", "hello frozen", "t2")
        waited = requests_for(fleet.gemini, "hello frozen")[0].started - began
        print(f"the newer turn asked the model after {1000 * waited:.0f} ms")
        assert reply == "Here I am."
        assert waited < 0.5 + SLACK
        before = stored(fleet, "frozen")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert [row[:3] for row in before[0]] == [("t1", "ended", "crashed"), ("t2", "ended", "answered")]
    assert (await old).ended_once
    await asyncio.sleep(1)
    assert stored(fleet, "frozen") == before
    await backend.caller("frozen").say("last frozen", turn="t3")
    body = requests_for(fleet.gemini, "last frozen")[0].body
    assert [line for line in caller_said(body).split("\n") if line[0] != "⟦"] == [
        "count frozen", "hello frozen", "last frozen",
    ]  # fmt: skip
    assert answers_in(body)[-1] == "Here I am."


async def say_to_another(fleet: Fleet, backend: Backend, conversation: str, words: str, turn: str) -> tuple[str, float]:
    """What it says, and when it was asked. A frozen worker may still have taken the connection: then the line is
    dropped, and it is sent once more."""
    for _ in range(20):
        began = time.monotonic()
        reply = await backend.caller(conversation).say(words, turn=turn, hang_up_at=3)
        if not reply.hung_up or reply.events:
            return reply.text, began
    raise AssertionError("no worker took it")


def stored(fleet: Fleet, conversation: str) -> tuple[Any, Any]:
    turns = "SELECT turn, state, outcome, sent FROM turns WHERE conversation = %s ORDER BY number"
    heads = "SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = %s"
    return fleet.rows(turns, conversation), fleet.rows(heads, conversation)


async def test_the_webhook_of_a_killed_worker_is_answered_by_another(fleet: Fleet, backend: Backend) -> None:
    """Once it is certain that the first is dead. The action that may have happened is not done again."""
    first = asyncio.create_task(backend.caller("dead").say("soup", turn="t1"))
    await fleet.deeds.until("dead", "order began")
    os.kill(await fleet.runs("dead"), signal.SIGKILL)
    await asyncio.wait([first])
    began = time.monotonic()
    again = await backend.caller("dead").say("soup", turn="t1")
    print(f"answered after {time.monotonic() - began:.1f} s")
    assert again.text == "That is that."
    body = requests_for(fleet.gemini, "soup")[-1].body
    assert results_in(body) == [("order", UNKNOWN)]
    assert caller_said(body) == "soup"
    assert fleet.deeds.done("dead") == {"order began": 1}


async def test_sigterm_ends_the_workers_in_order(fleet: Fleet, backend: Backend) -> None:
    """The last test here: who speaks may finish, whoever comes is sent away at once, the parent ends with 0, and no
    process stays."""
    pids = fleet.workers()
    turn = asyncio.create_task(backend.caller("end").say("recite", turn="t1"))
    await until(lambda: any(r.tokens for r in requests_for(fleet.gemini, "recite")), 30)
    fleet.parent.send_signal(signal.SIGTERM)
    refused_after = await refuses(fleet, backend)
    assert not turn.done(), "or the test could not fail"
    assert refused_after < 1
    output, _ = await asyncio.to_thread(fleet.parent.communicate, timeout=60)
    assert (await turn).text.endswith("verse29")
    assert fleet.parent.returncode == 0
    assert not any(map(alive, pids))
    assert "Traceback" not in output
    with pytest.raises(httpx.ConnectError):
        await backend.http.get(f"{fleet.url}/livez")


async def refuses(fleet: Fleet, backend: Backend) -> float:
    """The seconds until a probe fails. One that gets no answer at all fails the test."""
    began = time.monotonic()
    while time.monotonic() - began < 10:
        try:
            if (await backend.http.get(f"{fleet.url}/readyz", timeout=5)).status_code != 200:
                break
        except (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError):
            break
    return time.monotonic() - began


async def until(true: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.02)
