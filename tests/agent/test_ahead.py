"""What a turn begins with is at hand, and so the model is asked while the journal admits it: unheard, without a tool,
and as if it had not been when the journal knows more."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from agent.graph import build_graph
from agent.storage.open import open_memory
from agent.turns.turn import Asked, Say
from api.settings import Settings
from tests.support.backend import Backend
from tests.support.conversation import Tools, caller_said, quiet
from tests.support.gemini import Gemini, calls, text, thought

APOLOGY = Settings(_env_file=None).apology_message


async def held_up(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, do: Callable[[], Any], seconds: float = 0.2
) -> list[float]:
    """Once nothing runs, let an admission take a moment, in which `do` is done. When those ended."""
    await quiet(backend)
    assert backend.agent
    journal, ended = backend.agent._journal, []
    admit = journal.admit

    async def slow(asked: Any) -> Any:
        await asyncio.sleep(seconds)
        await asyncio.to_thread(do)
        entry = await admit(asked)
        ended.append(time.monotonic())
        return entry

    monkeypatch.setattr(journal, "admit", slow)
    return ended


def changed(path: Path, sql: str, *values: Any) -> None:
    """By another process."""
    with sqlite3.connect(path, isolation_level=None) as connection:
        connection.execute(sql, values)


async def test_the_model_is_asked_before_the_turn_is_admitted_and_heard_after_it(
    gemini: Gemini, start: Any, monkeypatch: pytest.MonkeyPatch, deeds: Tools
) -> None:
    gemini.script(text("Hello."), calls(("order", {"thing": "soup"})), text("It is ordered."))
    backend: Backend = await start(tools_dir=deeds.folder)
    caller = backend.caller("c1")
    await caller.say("Hi")
    before: list[int] = []
    admitted = await held_up(backend, monkeypatch, lambda: before.append(deeds.done("c1").total()))
    began = time.monotonic()
    reply = await caller.say("Soup")
    assert gemini.requests[1].started < admitted[0] - 0.1
    assert reply.text == "It is ordered."
    assert began + reply.events[0][0] > admitted[0]
    assert before == [0], "a tool has run before the journal knew of the turn"
    assert deeds.done("c1")["order done"] == 1


@pytest.mark.parametrize("first", ["words", "call", "failure"])
async def test_what_the_journal_knows_more_is_told_and_what_was_begun_is_as_if_it_had_not_been(
    gemini: Gemini, start: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, deeds: Tools, first: str
) -> None:
    steps = {"words": text("Wrong."), "call": calls(("order", {"thing": "soup"})), "failure": text("")}
    gemini.script(text("Hello."), steps[first], *([steps[first]] if first == "failure" else []), text("Right."))
    backend: Backend = await start(tools_dir=deeds.folder)
    caller = backend.caller("c1")
    await caller.say("Hi")
    note = "INSERT INTO notes (conversation, id, kind, body, seen, at) VALUES ('c1', 'n', 'data', '\"news\"', 0, ?)"
    await held_up(backend, monkeypatch, lambda: changed(tmp_path / "voice.db", note, time.time()), seconds=0.8)
    assert (await caller.say("And?", turn="t2")).text == "Right."
    assert "news" in caller_said(gemini.requests[-1].body)
    assert "news" not in caller_said(gemini.requests[1].body), "or it was not begun before"
    await quiet(backend)
    assert deeds.done("c1").total() == 0
    assert backend.agent
    [(trace,)] = await backend.agent._memory.database.fetch("SELECT trace FROM turns WHERE turn = 't2'")
    assert len(json.loads(trace)["models"]) == 1


async def test_a_forgotten_conversation_does_not_come_back(
    gemini: Gemini, start: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gemini.script(text("Hello."), text("Wrong."), text("Who are you?"))
    backend: Backend = await start()
    caller = backend.caller("c1")
    await caller.say("A secret")

    def forget() -> None:
        for table, column in (("turns", "conversation"), ("checkpoints", "thread_id")):
            changed(tmp_path / "voice.db", f"DELETE FROM {table} WHERE {column} = 'c1'")

    await held_up(backend, monkeypatch, forget)
    assert (await caller.say("Hi")).text == "Who are you?"
    assert [len(request.body["contents"]) for request in gemini.requests] == [1, 3, 1]


async def test_whoever_reads_a_turn_waits_for_its_admission(
    gemini: Gemini, start: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gemini.script(text("Hello."), text("Wrong."), text("Who are you?"))
    backend: Backend = await start()
    await backend.caller("c1").say("A secret")
    await held_up(backend, monkeypatch, lambda: changed(tmp_path / "voice.db", "DELETE FROM checkpoints"))
    assert backend.agent
    turn = await backend.agent.begin(Asked("c1", "t2", text="Hi"))
    with turn.reader():
        said = [event.text async for event in turn.stream() if isinstance(event, Say)]
    assert "".join(said) == "Who are you?"
    assert (turn.first_words_ms or 0) >= 200


async def test_what_is_said_at_a_shutdown_is_heard_though_the_turn_was_not_admitted(
    gemini: Gemini, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gemini.script(text("Hello."), text("Never heard."))
    backend: Backend = await start()
    await backend.caller("c1").say("Hi")

    def full() -> None:
        raise sqlite3.OperationalError("database or disk is full")

    await held_up(backend, monkeypatch, full)
    talking = asyncio.create_task(backend.caller("c1").say("And?", turn="t2"))
    await asyncio.sleep(0.1)
    assert backend.agent
    await backend.agent.drain(0)
    assert (await talking).text.strip() == APOLOGY


async def test_an_admission_that_fails_ends_in_the_apology_and_leaves_no_request_open(
    gemini: Gemini, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gemini.script(text("Hello."), text("Never heard at all", delay=0.5))
    backend: Backend = await start()
    caller = backend.caller("c1")
    await caller.say("Hi")

    def full() -> None:
        raise sqlite3.OperationalError("database or disk is full")

    await held_up(backend, monkeypatch, full)
    for _ in range(2):
        assert (await caller.say("And?")).text == APOLOGY
    await gemini.settled()
    assert [request.closed_early for request in gemini.requests[1:]] == [True], "nor is any made for the next turn"


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_a_checkpoint_that_somebody_else_has_written_is_read(
    gemini: Gemini, start: Any, request: pytest.FixtureRequest, tmp_path: Path, database: str
) -> None:
    """Such as a script with LangGraph's `update_state`."""
    url = f"sqlite:///{tmp_path}/voice.db"
    if database == "postgres":
        url = request.getfixturevalue("postgres_url")
    gemini.answer = lambda _: text("Hm.")
    caller = (await start(database_url=url)).caller("c1")
    await caller.say("One")
    async with open_memory(url) as memory:
        added: Any = {"messages": [HumanMessage("A colleague was here.", id="x")]}
        await build_graph(memory.saver).aupdate_state({"configurable": {"thread_id": "c1"}}, added, as_node="think")
    await caller.say("Two")
    assert "A colleague was here." in caller_said(gemini.requests[-1].body)


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_the_state_at_hand_is_what_would_be_read_and_is_not_read(
    gemini: Gemini,
    start: Any,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    deeds: Tools,
    database: str,
) -> None:
    url = request.getfixturevalue("postgres_url") if database == "postgres" else f"sqlite:///{tmp_path}/voice.db"
    gemini.script(
        thought("Hm.", text("Let me see.", signature=True)),
        calls(("fetch", {"city": "Paris"}), ("order", {"thing": "soup"}), text="Well."),
        text("Done."),
        calls(("broken", {})),
        text("It failed."),
        calls(("book", {"people": 4, "time": "7 pm"})),
        calls(("confirm", {"yes": True})),
        text("Booked."),
    )
    backend: Backend = await start(tools_dir=deeds.folder, database_url=url)
    assert backend.agent
    memory, caller, read = backend.agent._memory, backend.caller("c1"), []
    get = memory.saver.aget_tuple

    async def noted(config: Any) -> Any:
        read.append(await get(config))
        return read[-1]

    for words in ("Hi", "Go", "Break", "Book", "Yes"):
        with monkeypatch.context() as watching:
            watching.setattr(memory.saver, "aget_tuple", noted)
            await caller.say(words)
        await quiet(backend)
        left = memory.newest.of("c1")
        assert left
        assert left.state == await memory.state("c1")
    assert read == [None] * 5, "LangGraph asks once a turn, and is given nothing"
