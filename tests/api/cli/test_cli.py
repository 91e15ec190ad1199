"""The `voice` command: what it refuses to start with, and what it says then; `say`, `tools`, `--help`."""

from __future__ import annotations

import asyncio
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner, Result

from api.cli.main import app
from api.settings import Settings
from tests.support.backend import ROOT, SECRET, Backend, free_port, signed
from tests.support.gemini import Gemini, text

MODEL = "google_genai:gemini-3.5-flash-lite"
TOOL = '''
from agent import voice_tool

@voice_tool(say="Checking the tides in {harbour}.", slow="It takes a while.", timeout=5, on_barge_in="cancel")
async def tides(harbour: str, day: str = "today") -> str:
    """Next high and low water at a harbour."""
    return "High."
'''


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """All that `serve` needs; a test takes away, or breaks, what it is about."""
    before = dict(os.environ)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    (tmp_path / "tools").mkdir()
    monkeypatch.setenv("LAYERCODE_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("MODEL", "demo")
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """`serve` and `dev` come as far as listening; here is what they would have served with."""
    runs: list[dict[str, Any]] = []

    def run(app: Any, listener: socket.socket, settings: Settings) -> None:
        runs.append({"app": app, "port": listener.getsockname()[1], "settings": settings})

    monkeypatch.setattr("api.operations.server.run", run)
    return runs


def voice(*command: str) -> Result:
    return CliRunner().invoke(app, command)


def refused(served: list[dict[str, Any]], *command: str) -> list[str]:
    """The sentences with which a command refuses."""
    result = voice(*(command or ("serve", "--port", "0")))
    assert result.exit_code == 2, result.output
    assert not served
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)
    return result.stderr.splitlines()


# serve: what it needs


def test_serve_starts_with_a_secret_tools_and_the_demo_model(served: list[dict[str, Any]]) -> None:
    """No key is needed when MODEL=demo says so on purpose."""
    result = voice("serve", "--port", "0")
    assert result.exit_code == 0, result.output
    assert len(served) == 1


@pytest.mark.parametrize("secret", [None, "", "  "])
def test_serve_refuses_without_a_secret(
    served: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, secret: str | None
) -> None:
    if secret is None:
        monkeypatch.delenv("LAYERCODE_WEBHOOK_SECRET")
    else:
        monkeypatch.setenv("LAYERCODE_WEBHOOK_SECRET", secret)
    (sentence,) = refused(served)
    assert "No platform is connected" in sentence
    assert "LAYERCODE_WEBHOOK_SECRET (Layercode)" in sentence


@pytest.mark.parametrize("secret", ["your-webhook-secret", "whsec_...", "changeme", "<secret>", "xxxxxxxx"])
def test_serve_refuses_a_placeholder(
    served: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("LAYERCODE_WEBHOOK_SECRET", secret)
    (sentence,) = refused(served)
    assert "LAYERCODE_WEBHOOK_SECRET is a placeholder" in sentence


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("MODEL", "", ["no key", "GOOGLE_GENERATIVE_AI_API_KEY", "MODEL=demo"]),
        ("MODEL", "nonsense", ["MODEL=nonsense cannot be used"]),
        ("MODEL", "acme:large-1", ["MODEL=acme:large-1 cannot be used"]),
        ("MODEL", "mistralai:mistral-small", ["MODEL=mistralai:mistral-small", "langchain-mistralai"]),
        (
            "MODEL_FALLBACK",
            "mistralai:mistral-small",
            ["MODEL_FALLBACK=mistralai:mistral-small", "langchain-mistralai"],
        ),
        ("TOOLS_DIR", "nowhere", ["There is no folder nowhere"]),
        ("MCP_SERVERS", "nowhere.json", ["MCP_SERVERS=nowhere.json cannot be read"]),
        ("SYSTEM_PROMPT_FILE", "nowhere.md", ["SYSTEM_PROMPT_FILE=nowhere.md cannot be read"]),
        ("DATABASE_URL", "sqlite:///tools", ["sqlite:///tools cannot be opened"]),
        ("DATABASE_URL", "sqlite:///no/such/folder/voice.db", ["cannot be opened"]),
        ("DATABASE_URL", "sqlite:////proc/voice.db", ["cannot be opened"]),
        ("DATABASE_URL", "sqlite:///text.db", ["cannot be opened: file is not a database"]),
        ("DATABASE_URL", "mysql://user:pass@host/db", ["DATABASE_URL", "sqlite:///", "mysql:"]),
        ("DATABASE_URL", "voice.db", ["DATABASE_URL", "sqlite:///"]),
        ("MAX_TOOL_STEPS", "many", ["MAX_TOOL_STEPS: "]),
        ("TURN_TIMEOUT_SECONDS", "-1", ["TURN_TIMEOUT_SECONDS: "]),
        ("DRAIN_SECONDS", "inf", ["DRAIN_SECONDS: "]),
    ],
)
def test_serve_refuses_with_one_clear_sentence(
    served: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: list[str]
) -> None:
    Path("text.db").write_text("This is not a database. " * 40)
    monkeypatch.setenv(name, value)
    (sentence,) = refused(served)
    for words in told:
        assert words in sentence
    assert "pass" not in sentence


def test_serve_refuses_a_tool_file_that_does_not_import(served: list[dict[str, Any]]) -> None:
    Path("tools/tides.py").write_text("import os\n\ndef broken(:\n")
    (sentence,) = refused(served)
    assert sentence.startswith("tools/tides.py:3: SyntaxError: ")


def test_serve_refuses_two_tools_of_one_name(served: list[dict[str, Any]]) -> None:
    Path("tools/one.py").write_text(TOOL)
    Path("tools/two.py").write_text(TOOL)
    assert refused(served) == ["tools/one.py and tools/two.py both have a tool 'tides': rename one."]


def test_serve_names_everything_that_is_wrong(served: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("tools/one.py").write_text("1 / 0\n")
    Path("tools/two.py").write_text("import nowhere_to_be_found\n")
    monkeypatch.delenv("LAYERCODE_WEBHOOK_SECRET")
    monkeypatch.setenv("MODEL", "")
    monkeypatch.setenv("MODEL_FALLBACK", "mistralai:mistral-small")
    monkeypatch.setenv("SYSTEM_PROMPT_FILE", "nowhere.md")
    monkeypatch.setenv("DATABASE_URL", "mysql://host/db")
    sentences = refused(served)
    wanted = (
        "LAYERCODE_WEBHOOK_SECRET",
        "one.py:1",
        "two.py:1",
        "no key",
        "langchain-mistralai",
        "nowhere.md",
        "mysql",
    )
    assert len(sentences) == len(wanted)
    for words in wanted:
        assert sum(words in sentence for sentence in sentences) == 1


@pytest.mark.parametrize("command", ["serve", "dev"])
def test_a_port_in_use_is_a_clear_sentence(served: list[dict[str, Any]], command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (sentence,) = refused(served, command, "--port", str(port))
    assert sentence.startswith(f"Cannot listen on 127.0.0.1, port {port}: Address already in use.")


def test_an_address_that_is_not_here_is_a_clear_sentence(served: list[dict[str, Any]]) -> None:
    (sentence,) = refused(served, "serve", "--host", "192.0.2.1", "--port", "0")
    assert sentence.startswith("Cannot listen on 192.0.2.1, port 0: ")


def test_a_refusal_is_exit_status_2_and_a_sentence_on_stderr(tmp_path: Path) -> None:
    """In a process of its own, where nothing else may be printed on the way out either."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DATABASE_URL": f"sqlite:///{tmp_path}"}
    done = subprocess.run(
        [sys.executable, "-m", "api.cli.main", "serve"], env=environment, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"The database sqlite:///{tmp_path} cannot be opened: unable to open database file.\n"


# dev


def test_dev_says_the_url_the_model_and_what_is_missing(
    served: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODEL")
    result = voice("dev", "--port", "0")
    assert result.exit_code == 0, result.output
    assert f"http://127.0.0.1:{served[0]['port']}/api/agent" in result.output
    assert "Model: demo" in result.output
    assert "*** DEMO" in result.stderr
    missing = next(line for line in result.output.splitlines() if line.startswith("Missing"))
    assert "LAYERCODE_API_KEY, GOOGLE_GENERATIVE_AI_API_KEY" in missing
    assert "LAYERCODE_WEBHOOK_SECRET" not in missing
    assert SECRET not in result.output


def test_dev_with_everything_misses_nothing(served: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL", MODEL)
    monkeypatch.setenv("GEMINI_API_KEY", "AIza-9f86d081884c7d65")
    monkeypatch.setenv("LAYERCODE_API_KEY", "lc-9f86d081884c7d65")
    result = voice("dev", "--port", "0")
    assert result.exit_code == 0, result.output
    assert f"Model: {MODEL}" in result.output
    for absent in ("DEMO", "Missing", "9f86d081884c7d65"):
        assert absent not in result.output


def test_dev_without_a_secret_makes_one_for_this_run_and_shows_it(
    served: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAYERCODE_WEBHOOK_SECRET")
    shown = [voice("dev", "--port", "0").output.partition("LAYERCODE_WEBHOOK_SECRET=")[2].split()[0] for _ in "12"]
    assert len(set(shown)) == 2
    body = {"type": "message", "conversation_id": "c", "session_id": "s", "turn_id": "t", "text": "Hello"}
    with TestClient(served[0]["app"]) as client:
        assert client.post("/api/agent", **signed(body, shown[0])).status_code == 200
        assert client.post("/api/agent", **signed(body, shown[1])).status_code == 401


def test_dev_starts_with_a_broken_tool_file_and_shows_where(served: list[dict[str, Any]]) -> None:
    Path("tools/tides.py").write_text("def broken(:\n")
    result = voice("dev", "--port", "0")
    assert result.exit_code == 0
    assert "tools/tides.py:1: SyntaxError" in result.output


def test_dev_refuses_what_cannot_be_mended_while_it_runs(
    served: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOOLS_DIR", "nowhere")
    (sentence,) = refused(served, "dev", "--port", "0")
    assert "There is no folder nowhere" in sentence


# say


async def say(backend: Backend, *arguments: str) -> Result:
    return await asyncio.to_thread(voice, "say", *arguments, "--url", f"{backend.url}/api/agent")


async def test_say_prints_each_event_with_its_time(gemini: Gemini, start: Any) -> None:
    gemini.script(text("One two.", delay=0.15))
    result = await say(await start(model=MODEL), "Count")
    assert result.exit_code == 0, result.output
    lines = [line.split(maxsplit=3) for line in result.stdout.splitlines()]
    assert [line[1:] for line in lines] == [
        ["ms", "response.tts", '"One"'],
        ["ms", "response.tts", '" two."'],
        ["ms", "response.end"],
    ]
    times = [int(line[0]) for line in lines]
    assert times == sorted(times)
    assert times[1] - times[0] >= 100


async def test_say_goes_on_with_a_conversation(gemini: Gemini, start: Any) -> None:
    gemini.script(text("Hello Ada."), text("Ada."))
    backend = await start(model=MODEL)
    for words in ("I am Ada", "Who am I?"):
        assert (await say(backend, words, "--conversation", "c1")).exit_code == 0
    assert len(gemini.requests[1].body["contents"]) == 3


async def test_after_hanging_up_say_shows_a_command_that_works(gemini: Gemini, start: Any) -> None:
    """It is a shell's command, whatever the words; the backend cuts its memory at what was heard."""
    gemini.script(text("That's $5 for `two` more and so on and on.", delay=0.1), text("As I said."))
    backend = await start(model=MODEL)
    result = await say(backend, "How much?", "--hang-up-after", "3")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("response.tts") == 3
    assert "response.end" not in result.stdout
    command = shlex.split(result.stdout.splitlines()[-1])
    assert command[:2] == ["voice", "say"]

    again = await asyncio.to_thread(voice, *command[1:])

    assert again.exit_code == 0, again.output
    assert '" said."' in again.stdout
    assert gemini.requests[1].body["contents"][1]["parts"] == [{"text": "That's $5 for two"}]


async def test_say_with_the_wrong_secret_is_told_so(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = await start(model=MODEL)
    monkeypatch.setenv("LAYERCODE_WEBHOOK_SECRET", "whsec_another0123456789")
    result = await say(backend, "Hello")
    assert result.exit_code == 1
    assert result.stderr.startswith("401: ")
    assert "The signature is missing or wrong." in result.stderr


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}/api/agent", "127.0.0.1:{}", "http://[oops:{}"])
def test_say_without_a_server_is_a_clear_sentence(url: str) -> None:
    url = url.format(free_port())
    result = voice("say", "Hello", "--url", url)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    (sentence,) = result.stderr.splitlines()
    assert f"No server answers at {url}" in sentence


def test_say_without_a_secret_says_which_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAYERCODE_WEBHOOK_SECRET")
    result = voice("say", "Hello")
    assert result.exit_code == 2
    assert "LAYERCODE_WEBHOOK_SECRET is not set" in result.stderr


async def said_to_another(answer: bytes) -> Result:
    """`voice say` to a backend that is not ours, and sends this."""

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split()[0])
        await reader.readexactly(length)  # closing over unread data would reset the connection
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n" + answer)
        writer.close()

    server = await asyncio.start_server(answers, "127.0.0.1", 0)
    async with server:
        url = "http://127.0.0.1:{1}".format(*server.sockets[0].getsockname())
        result = await asyncio.to_thread(voice, "say", "Hello", "--url", url)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    return result


async def test_say_shows_what_another_backend_sends_instead_of_events() -> None:
    """Any Layercode backend: one that is not well is shown as it is, and breaks nothing."""
    result = await said_to_another(
        b"content-type: text/event-stream\r\n\r\n: hi\r\nretry: 9\r\n\r\n"
        b'data: {"type":"response.data","content":[1]}\r\n\r\ndata: [DONE]\r\n\r\ndata: oops\r\n\r\n'
    )
    assert result.stdout.count(" ms ") == 3
    assert "response.data" in result.stdout
    assert "[DONE]" in result.stdout
    assert result.stderr == "The stream broke off without response.end.\n"


async def test_say_to_what_sends_no_events_is_a_clear_sentence() -> None:
    result = await said_to_another(b"content-type: text/html\r\n\r\n<!doctype html>")
    assert "answers with something else than an event stream" in result.stderr


# tools, --help


def test_tools_lists_name_arguments_file_lines_and_time_limit() -> None:
    Path("tools/tides.py").write_text(TOOL)
    result = voice("tools")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "tides(harbour, day)  tools/tides.py",
        "    does: Next high and low water at a harbour.",
        "    says: Checking the tides in {harbour}.",
        "    when slow: It takes a while.",
        "    time limit: 5 s; on barge-in: cancel",
    ]


def test_tools_lists_the_tools_that_come_with_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLS_DIR", str(ROOT / "tools"))
    result = voice("tools")
    for line in ("clock(place)", "weather(city)", "asks: Book a table for {people} {date} at {time}?"):
        assert line in result.stdout


def test_tools_of_an_empty_folder_are_none_and_of_a_broken_one_an_error() -> None:
    assert voice("tools").stdout == "There are no tools in tools/.\n"
    Path("tools/tides.py").write_text("1 / 0\n")
    result = voice("tools")
    assert result.exit_code == 2
    assert result.stderr == "tools/tides.py:1: ZeroDivisionError: division by zero\n"


HELP = """
import resource, sys
from api.cli.main import app
try:
    app(["--help"])
except SystemExit as done:
    assert not done.code
heavy = {name.partition(".")[0] for name in sys.modules} & {"langchain", "langchain_core", "langgraph", "fastapi",
    "uvicorn", "google", "httpx", "agent"}
assert not heavy, heavy
used = resource.getrusage(resource.RUSAGE_SELF)
print("SECONDS", used.ru_utime + used.ru_stime)
"""


def test_help_is_quick_and_loads_no_language_model() -> None:
    """Seconds of processor time; the best of three, as the machine may be busy."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    seconds: list[float] = []
    while not seconds or (seconds[-1] > 1.5 and len(seconds) < 3):
        done = subprocess.run([sys.executable, "-c", HELP], env=environment, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        assert all(command in done.stdout for command in ("serve", "chat", "say", "tools", "dev"))
        seconds.append(float(done.stdout.split()[-1]))
    assert seconds[-1] <= 1.5
