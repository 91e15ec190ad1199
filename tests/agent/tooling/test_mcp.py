"""Tools of MCP servers: real servers over stdio and HTTP, in whole conversations."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from mcp import types

from agent.llm import Models, load_model
from agent.tooling import mcp, mcp_tools
from agent.tooling.call import fault_in
from agent.tooling.decorator import ToolOptions
from agent.tooling.folder import ToolFolder
from agent.tooling.mcp_config import McpFileError, ServerConfig, load_servers
from api.cli.replay import project_of, record_conversation
from api.settings import NotConfigured, Settings
from api.wiring import check_servers
from tests.support.backend import Backend, Caller, backend, free_port
from tests.support.conversation import offered, quiet, results_in
from tests.support.gemini import Gemini, calls, text
from tests.support.run_files import check

SERVER = Path(__file__).parents[2] / "support" / "mcp_server.py"
LOCAL = """
from agent import voice_tool

@voice_tool
async def {name}(city: str) -> str:
    \"\"\"A tool of our own.\"\"\"
    return f"By train to {{city}}."
"""

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mcp, "_WAIT", 60.0)  # however slow the machine is
    monkeypatch.setenv("FLIGHTS_KEY", "key-7")
    monkeypatch.setenv("RECORD", str(tmp_path / "record"))
    (tmp_path / "record").touch()
    (tmp_path / "own").mkdir()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(flights=stdio())`: the path of a file that names these servers."""

    def written(**servers: dict[str, Any]) -> Path:
        path = tmp_path / "mcp.json"
        path.write_text(json.dumps({"mcpServers": servers}))
        return path

    return written


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "own"


def stdio(**keys: Any) -> dict[str, Any]:
    env = {"RECORD": "${RECORD}", "FLIGHTS_KEY": "${FLIGHTS_KEY}"}
    return {"command": sys.executable, "args": [str(SERVER), "stdio"], "env": env, **keys}


@contextmanager
def listening(port: int, transport: str = "http") -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, str(SERVER), transport, str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def deeds() -> list[str]:
    return Path(os.environ["RECORD"]).read_text().splitlines()


async def until(holds: Callable[[], object], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.01)


def has(ours: Backend, tool: str) -> Callable[[], bool]:
    assert ours.agent
    folder = ours.agent.folder
    return lambda: tool in folder.tools


def result(gemini: Gemini) -> str:
    """What the model was last told of a call."""
    return results_in(gemini.requests[-1].body)[-1][1]


def process_of(answer: str) -> int:
    """The server's process, of which `search` tells."""
    return int(re.findall(r"Process (\d+)", answer)[0])


def call(name: str, **arguments: Any) -> list[Any]:
    return [calls((name, arguments)), text("There you are.")]


def settings(own: Path, path: Path | None, tmp_path: Path) -> Settings:
    database = f"sqlite:///{tmp_path}/voice.db"
    return Settings(_env_file=None, tools_dir=own, mcp_servers=path, database_url=database)


async def test_over_stdio_one_process_serves_every_call_and_ends_with_the_backend(
    gemini: Gemini, write: Write, own: Path, tmp_path: Path
) -> None:
    """And: progress lines, what cannot be spoken, errors, wrong arguments, a secret, a tool that must not just run."""
    says = {"search": {"say": "Looking for flights to {city}."}}
    model = {"google_api_key": "test-key", "google_gemini_base_url": gemini.url}
    database = f"sqlite:///{tmp_path}/voice.db"
    file = write(flights=stdio(tools=says))
    async with backend(tools_dir=own, mcp_servers=file, database_url=database, **model) as running:
        first = await everything(gemini, running.caller())
        os.kill(process_of(first), 0)
    with pytest.raises(ProcessLookupError):
        os.kill(process_of(first), 0)


async def everything(gemini: Gemini, caller: Caller) -> str:
    """A conversation with all of the server's tools; the first answer of `search` comes back."""
    steps = (
        call("search", city="Rome", cabin=2), call("search", city="Oslo"), call("boarding_pass"), call("refund"),
        call("book_seat", flight="BA 7", seats="two"), call("book_seat", flight="BA 7", seats=2),
    )  # fmt: skip
    gemini.script(*(step for steps_ in steps for step in steps_))

    reply = await caller.say("Fly me to Rome")
    assert reply.text.startswith("Looking for flights to Rome.")
    assert [data["status"] for data in reply.data] == ["started", "finished"]
    first = result(gemini)
    assert re.fullmatch(r"BA 7 to Rome\. Process \d+\. Key key-7\.", first)
    await caller.say("And to Oslo?")
    assert result(gemini) == first.replace("Rome", "Oslo")
    await caller.say("My boarding pass")
    assert result(gemini) == "Gate 4.\n[Something that cannot be read out: image.]"
    refused = await caller.say("A refund")
    assert refused.data[-1]["status"] == "failed"
    assert "This fare cannot be refunded." in result(gemini)
    await caller.say("Book it")
    assert result(gemini) == "Nothing was done: the arguments are wrong. seats: type integer."
    assert "book BA 7 2" not in deeds()
    await caller.say("For two")
    assert result(gemini) == "Booked 2 seats on BA 7."
    assert deeds().count("book BA 7 2") == 1
    assert offered(gemini.requests[-1].body) == {"search", "book_seat", "boarding_pass", "refund"}

    return first


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"window": "yes"}, "window: type boolean"),
        ({"window": 1}, "window: type boolean"),
        ({"seats": True}, "seats: type integer"),
        ({"row": 7}, "row: there is no such argument, there are: flight, seats, seconds, window"),
    ],
)
async def test_m1_what_decides_about_an_action_is_not_guessed(
    gemini: Gemini, start: Any, write: Write, own: Path, arguments: dict[str, Any], fault: str
) -> None:
    """Of a server's tool as of one's own: true is the boolean, and no argument is lost without a word."""
    ours = await start(tools_dir=own, mcp_servers=write(flights=stdio()))
    gemini.script(*call("book_seat", **{"flight": "BA 7", "seats": 2, **arguments}))
    await ours.caller().say("Book it")
    assert result(gemini) == f"Nothing was done: the arguments are wrong. {fault}."
    assert not deeds()
    gemini.script(*call("search", city="Rome", page=2))
    await ours.caller().say("Only look")
    assert result(gemini).startswith("BA 7 to Rome.")


async def test_over_http_with_a_question_only_some_tools_and_a_server_from_pypi(
    gemini: Gemini, start: Any, write: Write, own: Path
) -> None:
    question = {"confirm": "Book {seats} seats on {flight}?"}
    tools = {"book-seat": question, "search": {"timeout": 1}, "*": {"timeout": 30, "on_barge_in": "cancel"}}
    only = ["search", "book-seat"]
    port = free_port()
    with listening(port):
        flights = {"url": f"http://127.0.0.1:{port}/mcp", "only": only, "tools": tools, "headers": {"X-Key": "k"}}
        clock = {"command": sys.executable, "args": ["-m", "mcp_server_time", "--local-timezone=UTC"]}
        ours: Backend = await start(tools_dir=own, mcp_servers=write(flights=flights, clock=clock))
        await until(has(ours, "search"))
        caller = ours.caller()
        gemini.script(calls(("book_seat", {"flight": "BA 7", "seats": 2})))
        assert (await caller.say("Book it")).text == "Book 2 seats on BA 7?"
        assert not deeds()
        gemini.script(*call("confirm", yes=True))
        await caller.say("Yes")
        assert deeds() == ["book BA 7 2"]
        zones = {"source_timezone": "Asia/Tokyo", "time": "12:00", "target_timezone": "UTC"}
        gemini.script(*call("convert_time", **zones))
        await caller.say("Noon in Tokyo, what is that in London?")
        assert "T03:00:00" in result(gemini)
        assert offered(gemini.requests[-1].body) == {
            "search",
            "book_seat",
            "convert_time",
            "get_current_time",
            "confirm",
        }
        gemini.script(*call("search", city="Rome", seconds=9))
        await caller.say("Fly me to Rome")
        assert result(gemini) == "search did not answer within 1 seconds and has no result."
        await until(lambda: deeds()[-1] == "search cancelled")


async def test_over_sse_the_old_transport(gemini: Gemini, start: Any, write: Write, own: Path) -> None:
    """`"type": "sse"`; a call, one that is interrupted, and a call after it."""
    port = free_port()
    with listening(port, "sse"):
        flights = {"type": "sse", "url": f"http://127.0.0.1:{port}/sse"}
        ours: Backend = await start(tools_dir=own, mcp_servers=write(flights=flights))
        await until(has(ours, "search"))
        caller = ours.caller()
        gemini.script(*call("search", city="Rome"))
        await caller.say("Fly me to Rome")
        assert result(gemini).startswith("BA 7 to Rome.")
        gemini.script(calls(("search", {"city": "Oslo", "seconds": 30})))
        searching = asyncio.create_task(caller.say("And to Oslo?"))
        await until(lambda: deeds().count("search began") == 2)
        searching.cancel()
        await until(lambda: deeds()[-1] == "search cancelled")
        gemini.script(*call("book_seat", flight="BA 7", seats=1))
        await caller.say("Book the first one")
        assert result(gemini) == "Booked 1 seats on BA 7."


async def test_a_server_that_is_down_says_so_and_comes_back_by_itself(
    gemini: Gemini, start: Any, write: Write, own: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Down at the start, up, killed in the middle of a call, up again; the conversation goes on."""
    monkeypatch.setattr(mcp, "_LOOK", 0.1)
    monkeypatch.setattr(mcp, "_LONGEST_PAUSE", 0.5)
    port = free_port()
    flights = {"url": f"http://127.0.0.1:{port}/mcp"}
    ours: Backend = await start(tools_dir=own, mcp_servers=write(flights=flights))
    caller = ours.caller()
    assert caplog.messages.count("the MCP server flights is down (ConnectError); it is tried again") == 1
    gemini.script(*call("flights_unavailable"))
    assert (await caller.say("Fly me to Rome")).ended_once
    assert "unavailable" in result(gemini)

    with listening(port) as process:
        await until(has(ours, "search"))
        gemini.script(*call("book_seat", flight="BA 7", seats=1, seconds=30))
        booking = asyncio.create_task(caller.say("Book it"))
        await until(deeds)
        process.kill()
        assert (await booking).ended_once
        assert result(gemini).endswith("It is not certain whether it took effect.")
    gemini.script(*call("book_seat", flight="BA 8", seats=1))
    await caller.say("Book another")
    assert result(gemini).startswith("book-seat is unavailable at the moment, and nothing was done.")

    ups = caplog.messages.count("the MCP server flights is up")
    caplog.set_level(logging.INFO)
    with listening(port):
        await until(lambda: caplog.messages.count("the MCP server flights is up") > ups)
        gemini.script(*call("search", city="Rome"))
        await caller.say("Fly me to Rome")
        assert result(gemini).startswith("BA 7 to Rome.")


async def test_a_server_that_does_not_answer_is_not_waited_for(
    write: Write, own: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(mcp, "_WAIT", 0.2)
    silent = {"command": sys.executable, "args": ["-c", "import sys; sys.stdin.read()"]}
    folder = ToolFolder(own)
    async with asyncio.timeout(10):
        await check_servers(load_servers(write(flights=silent)), folder)
    assert "the MCP server flights has not answered yet: its tools come when it does" in caplog.messages
    assert set(folder.tools) == {"flights_unavailable"}


async def test_a_process_that_is_killed_in_a_call_is_begun_again(
    gemini: Gemini, start: Any, write: Write, own: Path
) -> None:
    ours: Backend = await start(tools_dir=own, mcp_servers=write(flights=stdio()))
    caller = ours.caller()
    gemini.script(*call("search", city="Rome"))
    await caller.say("Fly me to Rome")
    killed = process_of(result(gemini))
    gemini.script(*call("search", city="Oslo", seconds=30))
    searching = asyncio.create_task(caller.say("And to Oslo?"))
    await until(lambda: deeds().count("search began") == 2)
    os.kill(killed, signal.SIGKILL)
    assert (await searching).ended_once
    assert result(gemini) == "search failed for a technical reason and has no result."

    async with asyncio.timeout(20):
        while "Bari" not in result(gemini):
            gemini.script(*call("search", city="Bari"))
            await ours.caller().say("To Bari, then")
    assert process_of(result(gemini)) != killed


async def test_a_server_that_works_and_does_not_answer_meanwhile_is_left_to_its_work(
    gemini: Gemini, start: Any, write: Write, own: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    broods = stdio(env={"RECORD": "${RECORD}", "BROODS": "yes"})
    monkeypatch.setattr(mcp, "_LOOK", 0.05)
    monkeypatch.setattr(mcp, "_PATIENCE", 1.0)
    ours: Backend = await start(tools_dir=own, mcp_servers=write(flights=broods))
    gemini.script(*call("brood", seconds=2.5))
    await ours.caller().say("Take your time")
    assert result(gemini).startswith("Hatched by ")
    assert not [message for message in caplog.messages if "is down" in message]


async def test_a_tool_runs_so_many_times_at_once_and_the_others_wait(
    gemini: Gemini, start: Any, write: Write, own: Path
) -> None:
    limited = stdio(tools={"search": {"at_once": 1}})
    ours: Backend = await start(tools_dir=own, mcp_servers=write(flights=limited))
    both = calls(*(("search", {"city": city, "seconds": 0.2}) for city in ("Rome", "Oslo")))
    gemini.script(both, text("There you are."))
    await ours.caller().say("Fly me to Rome, and to Oslo")
    assert [told.split(".")[0] for _, told in results_in(gemini.requests[-1].body)] == ["BA 7 to Rome", "BA 7 to Oslo"]
    assert deeds() == ["search began", "search done"] * 2


async def test_a_server_that_starts_and_dies_is_tried_with_growing_pauses(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = 0

    class Dies:
        async def initialize(self) -> None: ...

        async def list_tools(self) -> Any:
            return types.ListToolsResult(tools=[])

        async def send_ping(self) -> None:
            raise ConnectionError

    @asynccontextmanager
    async def session(_: Any) -> Any:
        nonlocal begun
        begun += 1
        yield Dies()

    for name, value in {"create_session": session, "_PAUSE": 0.01, "_LOOK": 0.001}.items():
        monkeypatch.setattr(mcp, name, value)
    server = mcp.Server("flights", ServerConfig(url="http://127.0.0.1:1"), ToolFolder(own))
    with suppress(TimeoutError):
        await asyncio.wait_for(server.run(), 1.5)
    assert 2 < begun < 12


async def test_a_barge_in_stops_a_call_that_reads_and_not_the_server(
    gemini: Gemini, start: Any, write: Write, own: Path
) -> None:
    ours: Backend = await start(tools_dir=own, mcp_servers=write(flights=stdio()))
    caller = ours.caller()
    gemini.script(*call("search", city="Oslo"))
    await caller.say("To Oslo")
    before = result(gemini)
    gemini.script(calls(("search", {"city": "Rome", "seconds": 30})))
    reading = asyncio.create_task(caller.say("Fly me to Rome"))
    await until(lambda: deeds().count("search began") == 2)
    reading.cancel()
    await until(lambda: deeds()[-1] == "search cancelled")
    await quiet(ours)
    gemini.script(*call("search", city="Oslo"))
    await caller.say("To Oslo")
    assert result(gemini) == before

    gemini.script(calls(("book_seat", {"flight": "BA 7", "seats": 1, "seconds": 0.7})))
    booking = asyncio.create_task(caller.say("Book it"))
    await until(lambda: "book BA 7 1" in deeds())
    booking.cancel()
    await asyncio.wait([booking])
    await quiet(ours)
    gemini.script(text("It is booked."))
    await caller.say("Well?")
    assert "Booked 1 seats on BA 7." in str(gemini.requests[-1].body)


async def test_a_recorded_conversation_replays_without_the_server(
    gemini: Gemini, start: Any, write: Write, own: Path, tmp_path: Path
) -> None:
    path = write(flights=stdio(only=["search"], tools={"search": {"say": "Looking."}}))
    ours: Backend = await start(tools_dir=own, mcp_servers=path)
    caller = ours.caller()
    gemini.script(*call("search", city="Rome"), *call("search", town="Rome"))
    await caller.say("Fly me to Rome")
    await caller.say("To Rome, I said")
    await quiet(ours)
    run = tmp_path / "flights.json"
    assert await record_conversation(caller.conversation, run, settings(own, path, tmp_path)) == 0
    done = deeds()

    project = project_of(settings(own, None, tmp_path))
    assert await asyncio.to_thread(check, run, project) == []
    assert not project.folder.tools
    run.write_text(run.read_text().replace('"say": "Looking."', '"say": "Searching."'))
    assert await asyncio.to_thread(check, run, project)
    assert deeds() == done


async def test_what_does_not_fit_the_servers_is_told_before_the_start(write: Write, own: Path, caplog: Any) -> None:
    (own / "trains.py").write_text(LOCAL.format(name="search"))
    folder = ToolFolder(own)
    folder.load()
    tools = {"book-seet": {"confirm": "Sure?"}, "refund": {"say": "Refunding {fare}."}}
    path = write(flights=stdio(tools=tools), more=stdio(only=["boarding_pass"]))
    with pytest.raises(NotConfigured) as refused:
        await check_servers(load_servers(path), folder)
    typo, text_, again = sorted(refused.value.problems)
    assert f"{own}/trains.py and the MCP server flights both have a tool 'search': rename one." in caplog.text
    assert typo.startswith("MCP_SERVERS names a tool 'book-seet', which flights does not have. It has: search, book-")
    assert "refund" in text_
    assert "{fare}" in text_
    assert "both have a tool 'boarding_pass'" in again
    assert "the MCP server flights" in again
    assert "the MCP server more" in again
    assert "is destructive" in caplog.text
    assert set(folder.tools) == {"search", "book_seat", "boarding_pass"}
    assert await folder.tools["search"].ainvoke({"city": "Rome"}) == "By train to Rome."


async def test_a_tool_with_the_name_of_another_is_left_out_and_takes_nothing_with_it(
    start: Any, write: Write, own: Path, caplog: Any
) -> None:
    """A server can rename its tools at any time, and is not in the way of the next start: only what MCP_SERVERS names
    must be there."""
    (own / "trains.py").write_text(LOCAL.format(name="search"))
    path = write(flights=stdio(), more=stdio())
    folder = ToolFolder(own)
    folder.load()
    await check_servers(load_servers(path), folder)
    assert set(folder.tools) == {"search", "book_seat", "boarding_pass", "refund"}
    for owner in (f"{own}/trains.py and the MCP server more", "the MCP server flights and the MCP server more"):
        assert f"{owner} both have a tool" in caplog.text
    assert await folder.tools["search"].ainvoke({"city": "Rome"}) == "By train to Rome."
    assert (await start(tools_dir=own, mcp_servers=path)).agent


async def test_of_two_tools_of_a_server_that_get_one_name_the_first_stays(write: Write, own: Path, caplog: Any) -> None:
    """`book-seat` and `book.seat`: a model's names have neither of these characters."""
    env = {"RECORD": "${RECORD}", "TWIN": "yes"}
    folder = ToolFolder(own)
    folder.load()
    await check_servers(load_servers(write(flights=stdio(env=env))), folder)
    two = "the MCP server flights has two tools 'book_seat': rename one."
    assert f"{two} 'book.seat' of the MCP server flights is left out" in caplog.text
    assert "flight" in folder.tools["book_seat"].args

    named = write(flights=stdio(env=env, only=["book-seat", "book.seat"]))
    with pytest.raises(NotConfigured) as refused:
        await check_servers(load_servers(named), folder)
    assert refused.value.problems == (f'{two} "only" in MCP_SERVERS leaves tools out.',)


async def test_gemini_takes_every_schema_and_the_call_is_checked_by_all_of_it() -> None:
    """One that its client does not know would end every turn, whatever tool it belongs to."""
    arguments = {
        "class": {"enum": [1, 2, None]}, "const": {"const": 7}, "either": {"type": ["integer", "string"]},
        "maybe": {"anyOf": [{"$ref": "#/$defs/Day"}, {"type": "null"}]}, "any": True, "list": {"type": "array"},
        "all": {"allOf": [{"$ref": "#/$defs/Day"}]}, "map": {"additionalProperties": {"type": "integer"}},
    }  # fmt: skip
    schema = {"type": "object", "properties": arguments, "$defs": {"Day": {"type": "string", "enum": ["Mon", "Tue"]}}}
    made = mcp_tools.tool_of("flights", "odd", "Odd.", {**schema, "required": ["class", "const"]}, ToolOptions())
    bare = mcp_tools.tool_of("flights", "2-go", "Bare.", {"type": "object"}, ToolOptions())
    assert bare.name == "_2_go"
    models = Models(load_model("gemini-3.5-flash-lite", google_api_key="k"))
    await models.rehearse([made, bare])
    await models.close()
    assert fault_in(made, {"class": 2, "const": 7, "maybe": "Mon", "map": {"a": 1}}) is None
    assert fault_in(made, {"maybe": "Wed"}) == (
        "Nothing was done: the arguments are wrong. "
        "maybe: anyOf [{'$ref': '#/$defs/Day'}, {'type': 'null'}]; arguments: required ['class', 'const']."
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"mcpServers": {"a": {"command": "x",}}}', "mcp.json, line 1: this is not JSON: mend it."),
        ("[]", "mcp.json: the file: Input should be"),
        ('{"servers": {}}', "mcp.json: servers: there is no such key here: remove it, or mend its name."),
        ('{"mcpServers": {"a": {}}}', "mcp.json: mcpServers.a: it needs either a `command` or a `url`."),
        ('{"mcpServers": {"a": {"command": "x", "url": "y"}}}', "it needs either a `command` or a `url`."),
        ('{"mcpServers": {"a b": {"command": "x"}}}', "mcpServers.a b"),
        ('{"mcpServers": {"a": {"url": "u", "tiemout": 3}}}', "mcpServers.a.tiemout: there is no such key here"),
        ('{"mcpServers": {"a": {"url": "u", "tools": {"b": {"on_barge_in": "run"}}}}}', "a.tools.b.on_barge_in: "),
        ('{"mcpServers": {"a": {"url": "u", "tools": {"b": {"timeout": 0}}}}}', "a.tools.b.timeout: "),
        ('{"mcpServers": {"a": {"url": "u", "tools": {"b": {"confirm": true}}}}}', "a.tools.b.confirm"),
        ('{"mcpServers": {"a": {"url": "u", "headers": {"K": "${NO_SUCH_KEY}"}}}}', "not set: NO_SUCH_KEY. Set"),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_a_sentence(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(content)
    with pytest.raises(McpFileError, match=re.escape(told)):
        load_servers(path)
