"""A backup of SQLite that is taken while the server works, as docs/production.md says."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.support.backend import Backend
from tests.support.conversation import Tools, answers_in, quiet
from tests.support.gemini import Gemini, Json, Step, calls, responses, said, text


def answer(body: Json) -> Step:
    if said(body).endswith("Order tea") and not responses(body):
        return calls(("order", {"thing": "tea"}))
    return text("All right, as you say.", delay=0.01)


def copy(source: Path, target: Path) -> None:
    """What `sqlite3 voice.db ".backup copy.db"` does: a page at a time, beginning anew when somebody writes."""
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other, pages=8, sleep=0.001)


async def test_a_copy_taken_while_turns_run_opens_and_goes_on(
    start: Any, gemini: Gemini, deeds: Tools, tmp_path: Path
) -> None:
    """A turn that had ended is in it whole; one that was under way is there or not; nothing is done a second time."""
    gemini.answer = answer
    live: Backend = await start(tools_dir=deeds.folder)
    assert (await live.caller("before").say("Order tea")).ended_once
    await quiet(live)
    talking = [asyncio.create_task(live.caller(f"c{n}").say("Order tea")) for n in range(20)]
    await asyncio.sleep(0.05)
    assert not all(task.done() for task in talking)
    await asyncio.to_thread(copy, tmp_path / "voice.db", tmp_path / "copy.db")
    assert all(reply.ended_once for reply in await asyncio.gather(*talking))
    await quiet(live)

    with closing(sqlite3.connect(tmp_path / "copy.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    restored: Backend = await start(tools_dir=deeds.folder, database_url=f"sqlite:///{tmp_path}/copy.db")
    for conversation in ("before", *(f"c{n}" for n in range(20))):
        caller = restored.caller(conversation)
        again = await caller.say("Order tea") if conversation == "before" else None
        assert again is None or again.text == "All right, as you say."
        assert (await caller.say("What have I ordered?", turn="new")).ended_once
        assert deeds.done(conversation)["order done"] == 1
    newest = next(r for r in gemini.requests if said(r.body).endswith("What have I ordered?"))
    assert answers_in(newest.body) == ["All right, as you say."]
