"""`voice forget` and `RETENTION_DAYS`: what is gone afterwards, what stays, and what a call at that moment gets."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from agent.replay import run_file as runs
from agent.storage.open import open_storage
from agent.storage.retention import expire
from agent.tooling.folder import ToolFileError, ToolFolder
from api.cli.main import app
from api.cli.replay import record_conversation
from api.settings import Settings
from tests.agent.storage.test_workers import until
from tests.support.backend import Backend
from tests.support.conversation import Tools, caller_said, question, quiet, request_for, results_in, steps_taken
from tests.support.gemini import Answer, Gemini, calls, stall, text

ADA, BOB = "+49301234567", "+12025550123"
TABLES = ("turns", "tool_calls", "notes", "summaries", "checkpoints")
KEEPS = '''
from agent import tool_context, voice_tool

@voice_tool
async def wish(what: str) -> str:
    """Keeps a wish."""
    context = tool_context()
    await context.database.execute("CREATE TABLE IF NOT EXISTS wishes (conversation TEXT, caller TEXT)")
    await context.database.execute("INSERT INTO wishes VALUES (?, ?)", context.conversation_id, context.caller)
    return f"Noted: {what}."
'''
FORGETS = """
async def forget(database, conversations, caller):
    print("asked to forget", conversations, caller)
    return await database.execute("DELETE FROM wishes WHERE caller = ?", caller)
"""

Forget = Callable[..., Any]


def model(body: dict[str, Any]) -> Answer:
    if steps_taken(body) or not question(body).startswith("wish"):
        return text(f"About {question(body)}: one two three four five six.", delay=0.03)
    return calls(("wish", {"what": question(body)}))


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "wishes.py").write_text(KEEPS + FORGETS)
    return tmp_path / "made"


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The database: SQLite, or as `on_both` says."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return f"sqlite:///{tmp_path}/voice.db"
    return str(request.getfixturevalue("postgres_url"))


on_both = pytest.mark.parametrize("url", ["sqlite", "postgres"], indirect=True)


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, tools: Path) -> Forget:
    """`await forget("c1", "--yes")`: the command, on that database."""
    for name, value in {
        "DATABASE_URL": url,
        "TOOLS_DIR": str(tools),
        "RECORD_RUNS": str(tmp_path / "recorded"),
    }.items():
        monkeypatch.setenv(name, value)

    async def run(*arguments: str, answer: str = "") -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, ["forget", *arguments], input=answer)

    return run


@pytest.fixture
async def server(gemini: Gemini, start: Any, url: str, tools: Path) -> Backend:
    gemini.answer = model
    server: Backend = await start(tools_dir=tools, database_url=url)
    return server


def rows(url: str) -> dict[str, set[str]]:
    """The conversations that each table has, without tables that have none."""
    columns = {"checkpoints": "thread_id", "writes": "thread_id", "checkpoint_blobs": "thread_id"}
    with connected(url) as database:
        found = {
            table: {row[0] for row in database.execute(f"SELECT {columns.get(table, 'conversation')} FROM {table}")}
            for table in (*TABLES, "writes" if url.startswith("sqlite") else "checkpoint_blobs")
        }
    return {table: conversations for table, conversations in found.items() if conversations}


@contextmanager
def connected(url: str) -> Iterator[Any]:
    if url.startswith("postgresql"):
        with psycopg.connect(url) as connection:
            yield connection
        return
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database, database:
        yield database


def stored(folder: Path, words: str) -> list[str]:
    """The files of the database that have these bytes in them."""
    return [path.name for path in folder.glob("voice.db*") if words.encode() in path.read_bytes()]


async def two_people_talk(server: Backend) -> None:
    for conversation, number in (("ada1", ADA), ("ada2", ADA), ("bob1", BOB)):
        caller = server.caller(conversation)
        await caller.say(f"wish for the {conversation}-unicorn", from_phone_number=number)
        await caller.say(None, type="data", turn="d", data={"cart": f"{conversation}-page"})
        await caller.say(f"and the {conversation}-castle", from_phone_number=number)
    await quiet(server)


async def test_a_person_is_forgotten_everywhere(server: Backend, forget: Forget, tmp_path: Path, url: str) -> None:
    await two_people_talk(server)
    (tmp_path / "recorded").mkdir()
    for name in ("ada1", "ada2", "bob1"):
        (tmp_path / "recorded" / f"{name}.json").write_text("{}")
    assert stored(tmp_path, "ada1-unicorn"), "or the test could not fail"

    refused = await forget("+49 (30) 123-4567", answer="n\n")
    assert refused.exit_code == 1
    assert "Delete 2 conversations" in refused.output
    assert rows(url)["turns"] == {"ada1", "ada2", "bob1"}

    done = await forget("+49 (30) 123-4567", answer="y\n")
    assert done.exit_code == 0, done.output
    assert f"asked to forget ['ada1', 'ada2'] {ADA}" in done.output
    counted = "2 checkpoints, 2 conversations, 2 in wishes.py, 2 notes, 2 run files, 2 tool_calls, 4 turns"
    assert f"Forgotten: {counted}." in done.output
    assert set.union(*rows(url).values()) == {"bob1"}
    assert [path.name for path in (tmp_path / "recorded").iterdir()] == ["bob1.json"]
    for word in ("ada1-unicorn", "ada2-castle", "ada1-page", ADA):
        assert stored(tmp_path, word) == []
    assert stored(tmp_path, "bob1-unicorn")
    assert (await forget(ADA, "--yes")).exit_code == 1


@on_both
async def test_one_conversation_is_forgotten_and_can_begin_again(
    server: Backend, forget: Forget, gemini: Gemini, url: str
) -> None:
    await two_people_talk(server)
    done = await forget("ada1", "--yes")
    assert done.exit_code == 0, done.output
    assert "asked to forget ['ada1'] None" in done.output
    assert set.union(*rows(url).values()) == {"ada2", "bob1"}
    assert (await server.caller("ada1").say("Do you know me?")).ended_once
    assert caller_said(request_for(gemini, "Do you know me?").body) == "Do you know me?"


@pytest.mark.parametrize("unknown", ["c99", "+4915112345678"])
async def test_who_is_unknown_is_said_to_be(server: Backend, forget: Forget, url: str, unknown: str) -> None:
    await server.caller("c1").say("wish for it")
    done = await forget(unknown, "--yes")
    assert done.exit_code == 1
    assert f"The database knows no conversation and no phone number '{unknown}'." in done.output
    assert rows(url)["turns"] == {"c1"}


@on_both
async def test_a_turn_that_runs_meanwhile_is_answered_to_its_end_and_forgotten_too(
    server: Backend, forget: Forget, url: str
) -> None:
    caller = server.caller("c1")
    await caller.say("wish for a first")
    talking = asyncio.create_task(caller.say("count " + "and count " * 60))
    await asyncio.sleep(0.2)
    assert (await forget("c1", "--yes")).exit_code == 0
    assert not talking.done(), "or the test could not fail"
    assert (await talking).text.endswith("five six.")
    await quiet(server)
    assert rows(url) == {}


@on_both
async def test_a_newer_turn_after_the_forgetting_is_all_that_is_known(
    server: Backend, forget: Forget, gemini: Gemini, url: str
) -> None:
    caller = server.caller("c1")
    await caller.say("wish for a first")
    talking = asyncio.create_task(caller.say("count " + "and count " * 40))
    await asyncio.sleep(0.2)
    assert (await forget("c1", "--yes")).exit_code == 0
    assert not talking.done(), "or the test could not fail"
    newer = await caller.say("Are you still there?")
    assert newer.text.startswith("About Are you still there?")
    assert (await talking).ended_once
    await quiet(server)
    left = {"turns": {"c1"}, "checkpoints": {"c1"}, **({"checkpoint_blobs": {"c1"}} if "postgresql" in url else {})}
    assert rows(url) == left, "the newer turn's"
    assert caller_said(request_for(gemini, "Are you still there?").body) == "Are you still there?"
    await caller.say("And now?")
    assert caller_said(request_for(gemini, "And now?").body) == "Are you still there?\nAnd now?"


async def test_a_newer_turn_on_another_worker_keeps_what_it_remembers(
    gemini: Gemini, start: Any, forget: Forget, tools: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The forgotten one is interrupted there, and what it deletes at its end is its own."""
    monkeypatch.setenv("DATABASE_URL", postgres_url)
    gemini.answer = model
    one, other = [await start(tools_dir=tools, database_url=postgres_url) for _ in range(2)]
    await one.caller("c1").say("wish for a first", turn="t1")
    old = asyncio.create_task(one.caller("c1").say("count " + "and count " * 60, turn="t2"))
    await asyncio.sleep(0.2)
    assert (await forget("c1", "--yes")).exit_code == 0
    assert (await other.caller("c1").say("Are you there?", turn="t3")).text.startswith("About Are you there?")
    assert not (await old).text.endswith("five six.")
    await quiet(one)
    await quiet(other)
    await other.caller("c1").say("And now?", turn="t4")
    assert caller_said(request_for(gemini, "And now?").body) == "Are you there?\nAnd now?"


@on_both
async def test_a_turn_and_its_call_that_end_after_the_forgetting_leave_nothing(
    gemini: Gemini, start: Any, deeds: Tools, forget: Forget, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOOLS_DIR", str(deeds.folder))
    gemini.script(calls(("order", {"thing": "soup", "seconds": 2})), text("Here it is."))
    server = await start(tools_dir=deeds.folder, record_runs=None, database_url=url)
    talking = asyncio.create_task(server.caller("c1").say("Soup, please"))
    await deeds.until("c1", "order began")
    assert (await forget("c1", "--yes")).exit_code == 0
    assert (await talking).text == "Here it is."
    await quiet(server)
    assert rows(url) == {}


@on_both
async def test_a_tool_that_is_called_after_the_forgetting_is_not_run_and_the_caller_hears_why(
    gemini: Gemini, start: Any, deeds: Tools, forget: Forget, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOOLS_DIR", str(deeds.folder))
    gemini.script(stall(2, calls(("order", {"thing": "soup"}))), text("Please ask me once more."))
    server = await start(tools_dir=deeds.folder, record_runs=None, database_url=url)
    talking = asyncio.create_task(server.caller("c1").say("Soup, please"))
    await until(lambda: gemini.requests)
    assert (await forget("c1", "--yes")).exit_code == 0
    assert not talking.done(), "or the test could not fail"
    assert (await talking).text == "Please ask me once more."
    [(name, told)] = results_in(gemini.requests[1].body)
    assert (name, told.split(":")[0]) == ("order", "order was not started")
    await quiet(server)
    assert rows(url) == {}
    assert not deeds.done("c1")


@on_both
async def test_what_is_forgotten_while_it_is_recorded_leaves_no_file(
    server: Backend, tools: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`RECORD_RUNS` does that in a process of its own, which may write its file after `voice forget` has deleted it."""
    await two_people_talk(server)
    save = runs.save_run

    def forgotten_first(run: runs.RunFile, path: Path) -> None:
        with connected(url) as database:
            database.execute("DELETE FROM turns WHERE conversation = 'ada1'")
        save(run, path)

    settings = Settings(_env_file=None, database_url=url, tools_dir=tools)
    monkeypatch.setattr(runs, "save_run", forgotten_first)
    assert await record_conversation("ada1", tmp_path / "ada1.json", settings) == 1
    assert await record_conversation("bob1", tmp_path / "bob1.json", settings) == 0
    assert [path.name for path in tmp_path.glob("*.json")] == ["bob1.json"]


async def test_a_tool_that_cannot_forget_stops_it_before_anything_is_deleted(
    server: Backend, forget: Forget, tools: Path, url: str
) -> None:
    await two_people_talk(server)
    (tools / "worse.py").write_text("async def forget(database, conversations, caller):\n    raise OSError('no disk')")
    done = await forget(ADA, "--yes")
    assert done.exit_code == 2
    assert "worse.py: forget failed with OSError: no disk. No conversation was deleted" in done.output
    assert rows(url)["turns"] == {"ada1", "ada2", "bob1"}
    (tools / "worse.py").write_text("def forget(database, conversations, caller): ...")
    with pytest.raises(ToolFileError, match="forget must be `async def forget"):
        ToolFolder(tools).load()


async def test_bookings_stay_and_nobody_can_tell_whose_they_were(
    gemini: Gemini, start: Any, forget: Forget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOOLS_DIR", str(Path(__file__).parents[3] / "tools"))
    book = calls(("book_table", {"people": 4, "time": "19:00", "date": "tomorrow", "name": "Ada"}))
    server = await start(record_runs=None)
    for conversation, number in (("c1", ADA), ("c2", None)):
        gemini.script(book, calls(("confirm", {"yes": True})), text("Booked."))
        for words in ("A table for four", "Yes"):
            await server.caller(conversation).say(words, turn=words[0], from_phone_number=number)
    await quiet(server)  # beside a server that is writing, bytes of what is deleted may stay until its next checkpoint

    def bookings() -> list[tuple[str, str, str, int]]:
        with sqlite3.connect(tmp_path / "voice.db") as database:
            found = database.execute("SELECT owner, call_id, name, people FROM bookings ORDER BY owner DESC").fetchall()
        database.close()
        return found

    assert [owner for owner, *_ in bookings()] == [f"phone:{ADA}", "conversation:c2"]
    assert (await forget("c1", "--yes")).exit_code == 0
    assert bookings()[0][0] == f"phone:{ADA}", "its caller can still cancel it"
    assert (await forget("c2", "--yes")).exit_code == 0
    assert (await forget(ADA, "--yes")).exit_code == 0, "no conversation is left, but a booking"
    assert [(name, people) for *_, name, people in bookings()] == [("", 4), ("", 4)]
    for word in ("c1:", "c2", ADA):
        assert stored(tmp_path, f":{word}") == []
    assert all(re.fullmatch(r"forgotten:\w{32}", owner) for owner, *_ in bookings())


def make_old(folder: Path, conversation: str, days: int = 100) -> None:
    with sqlite3.connect(folder / "voice.db") as database:
        for table, column in (("turns", "started"), ("tool_calls", "started"), ("notes", "at")):
            database.execute(
                f"UPDATE {table} SET {column} = {column} - {days} * 86400 WHERE conversation = ?", (conversation,)
            )
    database.close()


async def test_old_conversations_are_deleted_at_the_start(
    gemini: Gemini, start: Any, tools: Path, tmp_path: Path, url: str, server: Backend
) -> None:
    """One that went on since, and one of which only a note is old, are not."""
    await two_people_talk(server)
    make_old(tmp_path, "ada1")
    make_old(tmp_path, "bob1")
    make_old(tmp_path, "ada2", days=50)  # or nothing would say that the clock is right
    await server.caller("bob1").say("I am back", turn="new")
    await server.caller("only-a-note").say(None, type="data", data={})
    await quiet(server)
    settings: dict[str, Any] = {"google_api_key": "k", "google_gemini_base_url": gemini.url, "tools_dir": tools}
    settings["record_runs"] = tmp_path / "recorded"
    settings["record_runs"].mkdir()
    for name in ("ada1", "bob1", "by-hand"):
        (settings["record_runs"] / f"{name}.json").write_text("{}")
    await start(database_url=url, retention_days=99.0, **settings)
    async with asyncio.timeout(5):
        while "ada1" in rows(url)["turns"] or (tmp_path / "recorded/ada1.json").exists():
            await asyncio.sleep(0.02)
    left = rows(url)
    assert set.union(*left.values()) == {"ada2", "bob1", "only-a-note"}
    assert left["checkpoints"] == {"ada2", "bob1"}
    assert {path.name for path in (tmp_path / "recorded").iterdir()} == {"bob1.json", "by-hand.json"}


async def test_two_workers_delete_many_old_conversations_while_turns_go_on(server: Backend, url: str) -> None:
    await server.caller("c0").say("Hello")
    await quiet(server)
    async with open_storage(url) as one, open_storage(url) as other:
        for n in range(12):
            await one.database.execute(
                "INSERT INTO turns (conversation, turn, kind, asked, state, started)"
                " VALUES (?, 't', 'message', '{}', 'ended', 5)", f"old{n}",
            )  # fmt: skip
            await one.database.execute("INSERT INTO notes VALUES (?, 'n', 'ended', '{}', 1, 5)", f"noted{n}")
        before = time.time() - 3600
        expiring = asyncio.gather(expire(one, before), expire(other, before))
        while not expiring.done():
            assert (await server.caller("c0").say("And?", turn=f"{time.time()}")).ended_once
        deleted = sum(await expiring, start=type((await expiring)[0])())
    assert deleted["turns"] == deleted["notes"] == 12
    await quiet(server)
    assert set.union(*rows(url).values()) == {"c0"}
