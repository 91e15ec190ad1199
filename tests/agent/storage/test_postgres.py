"""The database: Postgres as SQLite is, and databases of earlier versions."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import sys
import time
import uuid
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.conformance import checkpointer_test, validate
from typer.testing import CliRunner

from agent import ToolContext, VoiceTool, use_context
from agent.storage.database import DatabaseError
from agent.storage.entries import Admission, PendingContext
from agent.storage.journal import Journal
from agent.storage.open import Storage, open_storage
from agent.storage.schema import VERSIONS
from agent.storage.workers import SingleWorker, TurnTakenOver, open_workers
from agent.turns import Say, Turn, TurnRequest
from api.cli.main import app
from tests.agent.storage.test_workers import model, until
from tests.support.backend import ROOT, SECRET, Backend
from tests.support.conversation import Tools, caller_said, quiet, requests_for, results_in
from tests.support.gemini import Gemini, calls, text
from tests.support.postgres import Server
from tools.bookings import book_table, cancel_booking, list_bookings


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/voice.db"
    return str(request.getfixturevalue("postgres_url"))


# The tables


SETTING_UP = """
import asyncio, sys
from agent.storage.open import open_storage

async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    async with open_storage(sys.argv[1]) as storage:
        print(await storage.database.fetch("SELECT max(version) FROM schema_version"))

asyncio.run(main())
"""


async def test_ten_workers_make_the_tables_at_the_same_time(postgres_url: str) -> None:
    """Half of them are processes, which a deadlock in the server would hold for ever."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", SETTING_UP, postgres_url, env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(3)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout
        assert await process.stdout.readline() == b"ready\n"

    async def here() -> int:
        async with open_storage(postgres_url) as storage:
            return int((await storage.database.fetch("SELECT max(version) FROM schema_version"))[0][0])

    async with asyncio.timeout(60):
        went = await asyncio.gather(*(process.communicate(b"\n") for process in processes), *(here() for _ in range(7)))
    assert [process.returncode for process in processes] == [0] * 3
    assert went[3:] == [len(VERSIONS)] * 7


async def test_a_database_of_the_first_version_is_upgraded_and_keeps_its_order(tmp_path: Path) -> None:
    """As the first release left it: without numbers, workers and versions."""
    with sqlite3.connect(tmp_path / "voice.db") as old:
        for statement in VERSIONS[0]:
            old.execute(statement)
        for turn, started in (("b", 2.0), ("a", 1.0), ("c", 3.0)):
            entry = f'{{"text":"{turn}","caller":null,"metadata":{{}},"heard":null}}'
            row = ("c1", turn, "message", entry, "ended", "answered", '[[0,"say","Hm.","m"]]', None, started, started)
            old.execute(f"INSERT INTO turns VALUES ({', '.join('?' * 10)})", row)
    old.close()
    for new in (4, 5):
        async with open_storage(f"sqlite:///{tmp_path}/voice.db") as storage:
            rows = await storage.database.fetch("SELECT turn, number, worker FROM turns ORDER BY number LIMIT 3")
            assert rows == [("a", 1, ""), ("b", 2, ""), ("c", 3, "")]
            journal = Journal(storage, SingleWorker())
            assert (await journal.admit(TurnRequest("c1", "b"))).sent[0].event == Say("Hm.", "m")
            assert (await journal.admit(TurnRequest("c1", f"new{new}"))).number == new


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("postgresql://user:secret@127.0.0.1:1/voice", "Connection refused"),
        ("postgresql://user:se@cret@127.0.0.1:1/voice", "percent-encoded"),
        ("postgresql://user:secret@127.0.0.1:port/voice", "invalid integer value"),
    ],
)
async def test_a_server_that_cannot_be_had_is_one_sentence_without_the_password(url: str, sentence: str) -> None:
    with pytest.raises(DatabaseError) as refused:
        async with open_storage(url):
            pass
    assert sentence in str(refused.value)
    assert "cret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_one_process_serves_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERCODE_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("MODEL", "demo")
    monkeypatch.setenv("TOOLS_DIR", str(ROOT / "tools"))
    result = CliRunner().invoke(app, ["serve", "--workers", "2", "--port", "0"])
    assert result.exit_code == 2
    assert result.stderr == (
        "SQLite serves one process: --workers 2 needs DATABASE_URL=postgresql://user@host/database.\n"
    )


# What is kept


async def test_statements_mean_the_same_on_both(url: str) -> None:
    """Placeholders, percent signs, NUL, which Postgres has not, and rows of a change."""
    async with open_storage(url) as storage:
        database = storage.database
        await database.execute("CREATE TABLE things (name TEXT PRIMARY KEY, size DOUBLE PRECISION)")
        for _ in range(2):
            insert = "INSERT INTO things VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING size"
            made = await database.fetch(insert, "100 %s?", 1.5)
        assert made == []
        assert await database.execute("INSERT INTO things VALUES (?, ?)", "a\0b", None) == 1
        assert await database.fetch("SELECT name FROM things WHERE name LIKE '100 %' AND size = ?", 1.5) == [
            ("100 %s?",)
        ]
        assert await database.execute("UPDATE things SET size = 2") == 2


async def test_a_webhook_with_nul_in_every_text_is_answered(gemini: Gemini, start: Any, url: str) -> None:
    gemini.answer = model
    caller = (await start(database_url=url)).caller("c\0one")
    for turn in ("t\0one", "t\0two"):
        reply = await caller.say(f"hello\0{turn}", turn=turn, from_phone_number="+1\0", metadata={"a\0": ["b\0"]})
        assert reply.text == "Here I am."
        assert (await caller.say(f"hello\0{turn}", turn=turn)).raw == reply.raw
    assert caller_said(gemini.requests[-1].body) == "hello\0t\0one\nhello\0t\0two"


async def test_what_is_kept_of_a_conversation_does_not_grow_with_its_checkpoints(
    gemini: Gemini, start: Any, postgres_url: str
) -> None:
    gemini.answer = model
    backend: Backend = await start(database_url=postgres_url)
    caller = backend.caller("c1")
    for number in range(30):
        await caller.say(f"number {number}", turn=f"t{number}")
    await quiet(backend)
    with psycopg.connect(postgres_url) as connection:
        for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes"):
            count = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            assert count
            assert count[0] <= 3, table


async def test_a_conversation_on_postgres_is_recorded_by_the_command(
    gemini: Gemini, start: Any, deeds: Tools, postgres_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gemini.script(calls(("order", {"thing": "soup"})), text("It is on its way."))
    backend: Backend = await start(tools_dir=deeds.folder, database_url=postgres_url)
    await backend.caller("c1").say("Soup", turn="t1")
    await quiet(backend)
    for name, value in (("DATABASE_URL", postgres_url), ("TOOLS_DIR", str(deeds.folder))):
        monkeypatch.setenv(name, value)
    command = ["record", "--conversation", "c1", "--out", str(tmp_path / "run.json")]
    result = await asyncio.to_thread(CliRunner().invoke, app, command)
    assert (result.stdout, result.exit_code) == (f"{tmp_path}/run.json: 1 turns\n", 0), result.output


async def test_a_tools_table_may_be_made_by_many_at_once(postgres_url: str) -> None:
    """IF NOT EXISTS alone is no protection there."""
    async with open_storage(postgres_url) as storage:
        for number in range(20):
            table = f"CREATE TABLE IF NOT EXISTS things{number} (name TEXT PRIMARY KEY)"
            await asyncio.gather(*(storage.database.execute(table) for _ in range(8)))


async def test_one_call_books_one_table_on_whatever_worker(postgres_url: str) -> None:
    """tools/bookings.py, as two workers would run it at the same moment, and its list."""

    async def at(storage: Storage, tool: VoiceTool, call_id: str, **arguments: Any) -> str:
        context = ToolContext(call_id, "c1", "+4930123456", {}, httpx.AsyncClient(), storage.database, print, print)
        async with context.http:
            with use_context(context):
                return str(await tool.ainvoke(arguments))

    async with open_storage(postgres_url) as one, open_storage(postgres_url) as other:
        table = {"people": 4, "time": "19:00", "date": "tomorrow"}
        booked = await asyncio.gather(*(at(m, book_table, "call", **table) for m in (one, other) for _ in range(4)))
        assert len(set(booked)) == 1
        assert booked[0].startswith("The table is booked: number ")
        assert (await at(other, list_bookings, "list")).count("number ") == 1
        number = int(booked[0].split("number ")[1].split(",")[0])
        assert (await at(one, cancel_booking, "cancel", number=number)).startswith("Cancelled")


# The saver


async def test_the_saver_conforms(postgres_server: Server) -> None:
    """LangGraph's own suite for checkpointers."""

    @checkpointer_test(name="FencedSaver", skip_capabilities={"delete_for_runs", "copy_thread"})
    async def saver() -> AsyncGenerator[BaseCheckpointSaver[str], None]:
        async with open_storage(postgres_server.new()) as storage:
            yield storage.saver

    report = await validate(saver)
    failures = [failure for result in report.results.values() for failure in result.failures or ()]
    assert report.passed_all_base(), failures
    assert not failures


async def test_a_turn_that_was_taken_over_writes_no_more(postgres_url: str) -> None:
    """No checkpoint, no tool call, no end, and a late result is not taken for one that its memory has."""
    async with (
        open_storage(postgres_url) as storage,
        open_workers(storage.database, shared=True) as old,
        open_workers(storage.database, shared=True) as new,
    ):
        before, after = Journal(storage, old), Journal(storage, new)
        lost, next_ = Turn(TurnRequest("c1", "t1"), timeout=60), Turn(TurnRequest("c1", "t2"), timeout=60)
        lost.number = (await before.admit(lost.request)).number or 0
        message = {"type": "ai", "data": {"id": "t1/0", "content": ""}}
        assert await before.start_call(lost.request, "t1/0/a", "a", "order", {}, message) is None
        next_.number = (await after.admit(next_.request)).number or 0
        assert (lost.number, next_.number) == (1, 2)
        assert await after.admit(lost.request) == Admission(elsewhere=True)
        began = time.monotonic()
        async with new.turn(next_, is_oldest=False):
            assert 0.4 < time.monotonic() - began < 3
            pending_context = await after.pending_context(next_.request, {next_.request.key}, ())
            assert [turn.request.turn_id for turn in pending_context.crashed] == ["t1"]
            with pytest.raises(TurnTakenOver):
                await before.start_call(lost.request, "t1/0/b", "b", "order", {}, message)
            await write(storage, lost, old.name, fails=True)
            await write(storage, next_, new.name, fails=False)
            assert await after.finish(next_, pending_context)
            await before.end_call(
                lost.request,
                "t1/0/a",
                state="finished",
                result="Ordered.",
                reported=True,
                progress=(),
                ms=1,
                unspoken=(),
            )
            assert not await before.finish(lost, PendingContext())
        assert await storage.database.fetch("SELECT turn, outcome FROM turns WHERE state = 'ended' ORDER BY turn") == [
            ("t1", "crashed"),
            ("t2", "answered"),
        ]
        assert await storage.database.fetch("SELECT state, told FROM tool_calls") == [("finished", 0)]


async def write(storage: Storage, turn: Turn, worker: str, *, fails: bool) -> None:
    config: Any = {"configurable": {"thread_id": "c1", "checkpoint_ns": "", "__turn": (turn, worker)}}
    checkpoint = {**empty_checkpoint(), "id": uuid.uuid4().hex}
    try:
        await storage.saver.aput(config, checkpoint, {}, {})  # type: ignore[arg-type]
        written = True
    except TurnTakenOver:
        written = False
    assert written is not fails


# When it is away


async def test_ten_seconds_without_the_database(
    gemini: Gemini, start: Any, deeds: Tools, postgres_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Who is spoken to goes on hearing words, and they are remembered; a new turn gets an apology; and all recovers
    by itself."""
    gemini.answer = lambda body: (
        text(" ".join(f"word{n}" for n in range(40)), delay=0.1)
        if "slowly" in str(body["contents"][-1])
        else model(body)
    )
    backend: Backend = await start(tools_dir=deeds.folder, database_url=postgres_server.new())
    running = asyncio.create_task(backend.caller("c1").say("slowly", turn="t1"))
    await until(lambda: gemini.requests and gemini.requests[0].tokens)
    caplog.set_level(logging.INFO)
    await asyncio.to_thread(postgres_server.stop)
    try:
        began = time.monotonic()
        refused = await backend.caller("c2").say("hello", turn="t1")
        assert time.monotonic() - began < 8
        assert (refused.status, refused.text) == (200, "Sorry, something went wrong on my side. Please say that again.")
        assert refused.ended_once
        assert (await backend.http.get(f"{backend.url}/readyz")).status_code == 503
        await asyncio.sleep(max(0.0, 10 - (time.monotonic() - began)))
    finally:
        await asyncio.to_thread(postgres_server.start)
    assert (await running).text.split()[-1] == "word39"
    assert (await running).ended_once
    causes = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert sum("the database is away" in cause for cause in causes) == 1
    assert sum("a turn failed" in cause for cause in causes) == 1
    async with asyncio.timeout(20):
        while (await backend.http.get(f"{backend.url}/readyz")).status_code != 200:
            await asyncio.sleep(0.2)
    assert (await backend.caller("c2").say("again", turn="t2")).text == "Here I am."
    await backend.caller("c1").say("and now", turn="t2")
    body = requests_for(gemini, "and now")[0].body
    assert "word39" in str(body["contents"])
    assert results_in(body) == []


APOLOGY = "Sorry, something went wrong on my side. Please say that again."


@pytest.mark.parametrize(("moment", "words"), [("aget_tuple", APOLOGY), ("start_call", "That is that.")])
async def test_a_database_that_goes_away_within_a_turn_is_no_long_silence(
    gemini: Gemini,
    start: Any,
    deeds: Tools,
    postgres_server: Server,
    moment: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before the model is asked, and before a tool is run, which then is not: there are words after about the time for
    the first token."""
    gemini.answer = model
    url = postgres_server.new()
    backend: Backend = await start(tools_dir=deeds.folder, database_url=url, first_token_seconds=1.5)
    assert backend.agent
    place = backend.agent._journal if moment == "start_call" else backend.agent._conversations.storage.saver
    await backend.caller("c1").say("hello", turn="t0")
    await quiet(backend)
    gone, meant = asyncio.Event(), getattr(place, moment)

    async def away(*arguments: Any) -> Any:
        await asyncio.to_thread(postgres_server.stop)
        gone.set()
        return await meant(*arguments)

    began = time.monotonic()
    monkeypatch.setattr(place, moment, away)
    talking = asyncio.create_task(backend.caller("c1").say("soup", turn="t1"))
    try:
        await asyncio.wait_for(gone.wait(), 30)
        went = time.monotonic() - began
        monkeypatch.undo()
        await asyncio.sleep(5)
    finally:
        await asyncio.to_thread(postgres_server.start)
    reply = await talking
    heard = [at - went for at, event in reply.events if event["type"] == "response.tts"]
    print(f"words after {heard[0]:.1f} s")
    assert (reply.text, reply.ended_once) == (words, True)
    assert heard[0] < 5
    assert not deeds.done("c1")
    async with asyncio.timeout(30):
        while (await backend.caller("c1").say("again", turn=uuid.uuid4().hex)).text != "Here I am.":
            await asyncio.sleep(0.2)
    assert results_in(gemini.requests[-1].body) == ([] if moment == "aget_tuple" else [("order", told_of(gemini))])


def told_of(gemini: Gemini) -> str:
    """What the model was told of the tool at first."""
    return results_in(gemini.requests[2].body)[0][1]


async def test_a_full_disk_is_told_in_words_and_leaves_the_file_sound(
    gemini: Gemini, start: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gemini.answer = model
    backend: Backend = await start()
    caller = backend.caller("c1")
    assert (await caller.say("one", turn="t1")).text == "Here I am."
    assert backend.agent
    database = backend.agent._journal._database
    [[pages]] = await database.fetch("PRAGMA page_count")
    await database.fetch(f"PRAGMA max_page_count = {pages}")
    caplog.clear()
    full = [await caller.say(f"number {n} " + "x" * 9_000, turn=f"n{n}") for n in range(3)]
    assert all(reply.ended_once and reply.text for reply in full)
    assert "Sorry, something went wrong" in full[-1].text
    assert "SQLITE_FULL" in caplog.text
    await database.fetch("PRAGMA max_page_count = 1000000")
    assert (await caller.say("two", turn="t2")).text == "Here I am."
    assert caller_said(requests_for(gemini, "two")[-1].body).startswith("one\n")
    assert await database.fetch("PRAGMA integrity_check") == [("ok",)]


SEEDED = '''
import random
from agent import voice_tool

@voice_tool
async def dice() -> str:
    """Throws."""
    random.seed(42)
    return str(random.randint(1, 6))
'''


async def test_a_tool_that_seeds_random_costs_no_memory(
    gemini: Gemini, start: Any, tmp_path: Path, postgres_url: str
) -> None:
    """The saver keeps each value once, by its version; LangGraph makes these unique with `random`."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "dice.py").write_text(SEEDED)
    settings = {"tools_dir": tmp_path / "tools", "database_url": postgres_url}
    gemini.script(*[step for n in range(3) for step in (calls(("dice", {})), text(f"Throw {n}."))], text("Hm."))
    caller = (await start(**settings)).caller("c1")
    for _ in range(3):
        await caller.say("Throw")
    await (await start(**settings)).caller("c1").say("And?", turn="last")
    assert len(results_in(gemini.requests[-1].body)) == 3
