"""A row of `checkpoints` is data: whoever wrote it, reading it runs nothing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import ormsgpack
import psycopg
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.serde.jsonplus import EXT_CONSTRUCTOR_POS_ARGS, EXT_CONSTRUCTOR_SINGLE_ARG, EXT_PYDANTIC_V2

from agent.replay.run_file import load_run
from agent.storage.serializer import ForeignType, Serializer
from api.cli.replay import project_of
from api.settings import Settings
from tests.support.backend import ROOT
from tests.support.conversation import quiet
from tests.support.gemini import Gemini, text
from tests.support.run_files import check


def attack(folder: Path) -> bytes:
    """What makes a file when LangGraph's own serializer reads it."""
    return ormsgpack.packb(ormsgpack.Ext(EXT_CONSTRUCTOR_SINGLE_ARG, calling("os", "system", f"touch {folder}/owned")))


def calling(module: str, name: str, argument: Any) -> bytes:
    return ormsgpack.packb((module, name, argument))


def overwrite_sqlite(url: str, value: bytes) -> int:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database, database:
        return database.execute("UPDATE checkpoints SET type = 'msgpack', checkpoint = ?", (value,)).rowcount


def overwrite_postgres(url: str, value: bytes) -> int:
    with psycopg.connect(url) as database:
        return database.execute("UPDATE checkpoint_blobs SET type = 'msgpack', blob = %s", (value,)).rowcount


@pytest.mark.parametrize(("kind", "overwrite"), [("sqlite", overwrite_sqlite), ("postgres", overwrite_postgres)])
async def test_a_written_row_runs_nothing_and_is_named(
    start: Any,
    gemini: Gemini,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    overwrite: Callable[[str, bytes], int],
) -> None:
    """The conversation gets the apology, the log says what was found, and others go on."""
    url = f"sqlite:///{tmp_path}/voice.db" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    gemini.answer = lambda _: text("Hello.")
    backend = await start(database_url=url, apology_message="Sorry.")
    caller = backend.caller()
    await caller.say("Hello")
    await quiet(backend)
    assert overwrite(url, attack(tmp_path))
    reply = await caller.say("Again")
    assert not (tmp_path / "owned").exists()
    assert reply.text == "Sorry."
    assert reply.ended_once
    assert "'os.system'" in caplog.text
    assert (await backend.caller().say("Hello")).text == "Hello."


@pytest.mark.parametrize(
    "value",
    [
        ormsgpack.Ext(EXT_CONSTRUCTOR_POS_ARGS, calling("subprocess", "call", (["true"],))),
        ormsgpack.Ext(EXT_PYDANTIC_V2, ormsgpack.packb(("tools.clock", "clock", {}, "model_validate_json"))),
        ormsgpack.Ext(3, ormsgpack.packb(("builtins", "str", "{0}", "format"))),
        ormsgpack.Ext(EXT_PYDANTIC_V2, ormsgpack.packb(("langchain_core.messages.ai", "os", {}, ""))),
        ormsgpack.Ext(6, b"\x90"),
        ormsgpack.Ext(99, b"\xc0"),
    ],
)
def test_whatever_else_is_called_is_refused_however_deep(value: Any) -> None:
    inner = ormsgpack.Ext(
        EXT_PYDANTIC_V2, ormsgpack.packb(("langchain_core.messages.ai", "AIMessage", {"x": value}, ""))
    )
    for data in (value, {"a": [value]}, inner):
        with pytest.raises(ForeignType, match="not among the types"):
            Serializer().loads_typed(("msgpack", ormsgpack.packb(data)))


@pytest.mark.parametrize("kind", ["json", "pickle", "yaml"])
def test_there_is_one_format(kind: str) -> None:
    with pytest.raises(ForeignType):
        Serializer().loads_typed((kind, b"{}"))


def test_what_is_ours_comes_back_and_what_is_not_is_refused_before_it_is_kept() -> None:
    ours = {"messages": [HumanMessage("Hi", id="1"), AIMessage("Hello", id="2")], "pending": None, "n": {1, 2}}
    assert Serializer().loads_typed(Serializer().dumps_typed(ours)) == ours
    with pytest.raises(ForeignType, match="Path"):
        Serializer().dumps_typed({"file": Path("x")})


def test_a_run_file_makes_no_objects(tmp_path: Path) -> None:
    """What looks like a serialised object in it stays JSON."""
    fields = json.loads((ROOT / "tests/runs/weather.json").read_text())
    made = {"lc": 1, "type": "constructor", "id": ["os", "system"], "kwargs": {"command": f"touch {tmp_path}/owned"}}
    fields["turns"][0]["webhook"]["metadata"] = {"a": made, "b": {**made, "lc": 2}}
    file = tmp_path / "run.json"
    file.write_text(json.dumps(fields))
    assert load_run(file).turns[0].webhook["metadata"]["a"] == made
    check(file, project_of(Settings(_env_file=None, tools_dir=ROOT / "tools")))
    assert not (tmp_path / "owned").exists()
