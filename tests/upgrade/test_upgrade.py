"""What an earlier commit has left goes on under today's code: its databases, and its run files (tests/upgrade/)."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from agent.replay.compare import meaning
from api.cli.main import app
from tests.conftest import TOOLS
from tests.support.backend import Backend
from tests.support.conversation import Tools, caller_said, offered, results_in
from tests.support.ended_calls import EndedCalls, lines
from tests.support.gemini import Gemini, calls, text

LEFT = Path(__file__).parent
COMMIT = "9e9e8b3"
RUNS = sorted(LEFT.glob("run_*.json"))
LATE = "⟦system: Finished meanwhile: order. The result stands above; the caller has not heard it.⟧"
LATE_OF_THEN = "[Finished meanwhile: order. The result stands above; the caller has not heard it.]"
YES = calls(("confirm", {"yes": True}))


@dataclass(frozen=True)
class Left:
    """A copy of a database. turns: the webhooks that were sent and the streams that came, but for the turn that
    crashed. signatures: those that Gemini's stand-in gave out, as `Gemini.issued`."""

    url: str
    turns: list[dict[str, Any]]
    signatures: dict[str, str | None]


@pytest.fixture(params=["sqlite", "postgres"])
def left(request: pytest.FixtureRequest, tmp_path: Path) -> Left:
    if request.param == "sqlite":
        shutil.copy(LEFT / f"from_{COMMIT}.sqlite3", tmp_path / "voice.db")
        url = f"sqlite:///{tmp_path}/voice.db"
    else:
        url = str(request.getfixturevalue("postgres_url"))
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute((LEFT / f"from_{COMMIT}.sql").read_bytes())
    return Left(url, **json.loads((LEFT / f"{request.param}.json").read_text()))


@pytest.fixture
def deeds(deeds: Tools) -> Tools:
    """The tools of that time, and today's bookings."""
    shutil.copy(LEFT / "tools.py", deeds.folder)
    shutil.copy(TOOLS / "bookings.py", deeds.folder)
    return deeds


@pytest.fixture
async def server(start: Any, gemini: Gemini, left: Left, deeds: Tools) -> Backend:
    gemini.issued.update(left.signatures)
    backend: Backend = await start(database_url=left.url, tools_dir=deeds.folder, welcome_message="Welcome.")
    return backend


def shown(body: dict[str, Any]) -> list[str]:
    """What the model was sent, a line per part."""
    return [f"{c['role']}: {line}" for c in body["contents"] for part in c["parts"] for line in _part(part)]


def _part(part: dict[str, Any]) -> Iterator[str]:
    if call := part.get("functionCall"):
        signed = ", signed" if part.get("thoughtSignature") else ""
        yield f"{call['name']} {json.dumps(call['args'])}{signed}"
    elif result := part.get("functionResponse"):
        yield f"{result['name']} gave {result['response']['output']}"
    else:
        yield part["text"]


# The memory


async def test_the_model_is_sent_what_was_remembered(gemini: Gemini, server: Backend) -> None:
    gemini.script(text("Bye."))
    await server.caller("plain").say("Bye then")
    assert shown(gemini.requests[0].body) == [
        "user: [The call begins.]",
        "model: Welcome.",
        "user: Rome?",
        'model: fetch {"city": "Rome"}, signed',
        "user: fetch gave Sunny in Rome.",
        "model: It is sunny in Rome.",
        "user: Thanks",
        "model: I see.",
        "user: Bye then",
    ]


@pytest.mark.parametrize("heard", [None, "One two"])
async def test_an_interrupted_answer_is_cut_at_what_was_heard_or_else_at_what_was_sent(
    gemini: Gemini, server: Backend, heard: str | None
) -> None:
    gemini.script(text("Yes."))
    await server.caller("interrupted").say("Stop", heard=("t2", heard) if heard else None)
    assert shown(gemini.requests[0].body) == [
        "user: Hello",
        "model: I see.",
        "user: Count",
        f"model: {heard or 'One two three'}",
        "user: ⟦system: The caller interrupted you and heard only the words above.⟧\nStop",
    ]


async def test_a_summary_that_waited_is_taken_in_and_what_the_page_sent_is_told_once(
    gemini: Gemini, server: Backend
) -> None:
    gemini.script(text("A."), text("B."))
    caller = server.caller("long")
    await caller.say("first")
    await caller.say("second")
    storage = ["user: ⟦system: Summary of the conversation before this: They ordered several dishes.⟧\ndish4"]
    for dish in ("dish4", "dish5", "dish6"):
        storage += [
            *([f"user: {dish}"] if dish != "dish4" else []),
            f'model: order {{"thing": "{dish}"}}, signed',
            f'model: fetch {{"city": "{dish}"}}',
            f"user: order gave Ordered {dish}.",
            f"user: fetch gave Sunny in {dish}.",
            "model: There you are.",
        ]
    data = ["""user: ⟦system: The caller's page sent this data: {"cart":["soup"]}⟧\nfirst"""]
    assert shown(gemini.requests[0].body) == [*storage, *data]
    assert shown(gemini.requests[1].body) == [*storage, *data, "model: A.", "user: second"]


# Tools


@pytest.mark.parametrize("conversation", ["booking", "booking-later"])
async def test_what_waited_for_a_yes_is_booked_once(gemini: Gemini, server: Backend, conversation: str) -> None:
    """The question was heard; of the one that is later, a turn has gone by since. The webhook comes twice, and the
    caller says yes twice."""
    gemini.script(YES, text("It is booked."), text("It was."), calls(("list_bookings", {})), text("One."))
    caller = server.caller(conversation)
    booked = await caller.say("Yes", turn="yes")
    assert booked.text.endswith("It is booked.")
    assert (await caller.say("Yes", turn="yes")).raw == booked.raw
    await caller.say("Yes, yes")
    await caller.say("What have I booked?")

    asked, done, again, _, listed = (request.body for request in gemini.requests)
    assert "model: Book a table for 4 tomorrow at 19:00?" in shown(asked)
    assert all("confirm" in offered(body) for body in (asked, again))
    name, result = results_in(done)[-1]
    assert name == "confirm"
    assert result.startswith("The table is booked: number ")
    table = result.removeprefix("The table is booked: ").removesuffix(".")
    assert "for 4 people" in table
    assert results_in(listed)[-1] == ("list_bookings", f"The caller's bookings: {table}.")


async def test_a_late_result_that_nobody_was_told_of_is_told_once(gemini: Gemini, server: Backend) -> None:
    gemini.script(text("A."), text("B."))
    caller = server.caller("late")
    await caller.say("first")
    await caller.say("second")
    note = "⟦system: The caller went on before hearing an answer. They do not know the result of: order.⟧"
    told = [
        "user: Hello",
        "model: I see.",
        "user: Soup",
        'model: order {"thing": "soup", "seconds": 0.6}, signed',
        "user: order gave Ordered soup.",
        "model: …",
        f"user: {note}\n{LATE}\nfirst",
    ]
    assert shown(gemini.requests[0].body) == told
    assert shown(gemini.requests[1].body) == [*told, "model: A.", "user: second"]


async def test_a_late_result_that_was_told_is_not_told_again(gemini: Gemini, server: Backend) -> None:
    gemini.script(text("A."))
    await server.caller("told").say("And now?")
    body = gemini.requests[0].body
    assert results_in(body) == [("order", "Ordered soup.")]
    assert shown(body)[-4:] == ["model: I see.", f"user: {LATE_OF_THEN}\nNow?", "model: I see.", "user: And now?"]
    assert caller_said(body).count("Finished meanwhile") == 1


async def test_what_was_agreed_and_ended_late_stands_in_the_memory(
    gemini: Gemini, server: Backend, deeds: Tools
) -> None:
    gemini.script(text("A."))
    await server.caller("reserved").say("And now?")
    body = gemini.requests[0].body
    assert results_in(body)[-1] == ("confirm", "Reserved the boat.")
    assert caller_said(body).count("Finished meanwhile") == 1
    assert not deeds.done("reserved")


@pytest.mark.parametrize("again", [False, True], ids=["goes_on", "comes_again"])
async def test_a_turn_that_crashed_is_recovered_and_no_tool_is_run_again(
    gemini: Gemini, server: Backend, deeds: Tools, again: bool
) -> None:
    """By the caller's next words, or by its own webhook, which is sent again."""
    gemini.script(text("A."), text("B."))
    caller = server.caller("crashed")
    replies = [
        await caller.say("Tea", turn="t2") if again else await caller.say("Is it there?"),
        await caller.say("So?"),
    ]
    assert [reply.text for reply in replies] == ["A.", "B."]
    for request in gemini.requests:
        lines = shown(request.body)
        assert lines[:6] == [
            "user: Hello",
            "model: I see.",
            "user: Tea",
            'model: fetch {"city": "Oslo"}, signed',
            'model: order {"thing": "tea", "seconds": 60}',
            "user: fetch gave Sunny in Oslo.",
        ]
        assert lines[6].startswith("user: order gave It is unknown whether this happened")
        assert [line for line in lines if "Tea" in line] == ["user: Tea"]
    assert not deeds.done("crashed")


# The journal


async def test_a_webhook_of_then_that_comes_again_gets_the_stream_of_then(
    gemini: Gemini, server: Backend, left: Left, deeds: Tools
) -> None:
    """Byte for byte, but for what came after the caller had hung up."""
    for turn in left.turns:
        then = turn["stream"].encode()
        again = await server.caller(turn["conversation"]).say(turn["text"], turn=turn["turn"], type=turn["type"])
        assert again.ended_once
        assert again.raw == then if b"response.end" in then else again.raw.startswith(then)
    assert not gemini.requests
    assert not any(deeds.done(turn["conversation"]) for turn in left.turns)


@pytest.mark.parametrize("then", RUNS, ids=lambda path: path.stem)
def test_a_conversation_of_then_is_recorded_as_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, left: Left, then: Path
) -> None:
    """`voice record`: in today's replay each turn sends what was sent. The files were made from the SQLite database,
    and those that it gives today are the same, but for the date, the prompt, and what is said below of `confirm`."""
    _project(monkeypatch, tmp_path, then)
    monkeypatch.setenv("DATABASE_URL", left.url)
    now = tmp_path / "now.json"
    conversation = then.stem.removeprefix("run_")
    assert _voice("record", "--conversation", conversation, "--out", str(now)) == f"{now}: 3 turns\n"
    assert _voice("replay", str(now)) == f"{now}: ok\n"
    if left.url.startswith("sqlite"):
        expected = _with_confirm_declared(json.loads(_with_todays_notes(then)))
        assert json.loads(now.read_text())["turns"] == expected["turns"]


async def test_a_hook_is_told_of_a_call_in_a_conversation_of_then(
    start: Any, gemini: Gemini, left: Left, deeds: Tools
) -> None:
    """The table of calls is made; what was said before that is no part of the call."""
    hook = EndedCalls(deeds.folder)
    gemini.issued.update(left.signatures)
    gemini.script(text("Bye."))
    server = await start(database_url=left.url, tools_dir=deeds.folder, welcome_message="Welcome.")
    await server.caller("plain").say("Bye then", turn="new")
    await server.caller("plain").say(None, type="session.end", turn="end", agent_id="a")
    (call,) = await hook.until(1)
    assert lines(call) == [("caller", "Bye then", False), ("agent", "Bye.", False)]


# Run files


@pytest.mark.parametrize("then", RUNS, ids=lambda path: path.stem)
def test_a_run_file_of_then_replays_as_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, then: Path) -> None:
    """With the tools and the prompt of then. `--update` writes what came into a copy of the file: the same, but that
    `confirm` is declared in every request now, behind the project's own tools: then it was only while something was to
    be confirmed, and a history that names a function which is not declared is refused."""
    _project(monkeypatch, tmp_path, then)
    copy, asked = tmp_path / "copy.json", _with_todays_notes(then)
    copy.write_text(asked)
    assert _voice("replay", str(copy)) == f"{copy}: ok\n"
    assert _voice("replay", "--update", str(copy)) == f"{copy}: updated\n"
    assert _compared(json.loads(copy.read_text())) == _compared(_with_confirm_declared(json.loads(asked)))


def _compared(run: Any) -> Any:
    """A schema's titles and the order of its keys say nothing."""
    return {**run, "offered": {name: meaning(tool) for name, tool in run["offered"].items()}}


def _with_todays_notes(run: Path) -> str:
    """A run file of then. Notes were in plain brackets, which a caller can write too."""
    return re.sub(r"\[((?:The call|Finished meanwhile)[^\]]*)\]", r"⟦system: \1⟧", run.read_text())


def test_the_run_files_hold_what_they_are_kept_for() -> None:
    """Were a field's name changed in them, there would be nothing old to read."""
    assert [path.stem for path in RUNS] == ["run_plain", "run_reserved", "run_told"]
    _, reserved, told = (json.loads(path.read_text()) for path in RUNS)
    (order,) = told["turns"][0]["tools"]
    assert (order["late"], order["told"], order["after"]) == (True, "t3", "t2")
    _, agreed, _ = reserved["turns"]
    assert agreed["hung_up"]["events"] == 3
    assert [(call["name"], call["late"]) for call in agreed["tools"]] == [("reserve", True)]


def _with_confirm_declared(run: Any) -> Any:
    for call in (call for turn in run["turns"] for call in turn.get("models", [])):
        call["tools"] = [*(name for name in call["tools"] if name != "confirm"), "confirm"]
    return run


def _project(monkeypatch: pytest.MonkeyPatch, folder: Path, run: Path) -> None:
    """The environment of a project that has the tools and the prompt of a run file."""
    tools, prompt = folder / "then", folder / "prompt.md"
    tools.mkdir()
    shutil.copy(LEFT / "tools.py", tools)
    prompt.write_text("\n".join(json.loads(run.read_text())["prompt"]))
    for name, value in {"TOOLS_DIR": tools, "SYSTEM_PROMPT_FILE": prompt, "WELCOME_MESSAGE": "Welcome."}.items():
        monkeypatch.setenv(name, str(value))


def _voice(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.output
