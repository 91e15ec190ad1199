"""The documentation is true as far as a machine can tell: its code runs, and what it names exists."""

from __future__ import annotations

import asyncio
import inspect
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from agent.tooling.folder import ToolFolder
from agent.tooling.mcp_config import load_servers
from api.cli.main import app
from api.cli.simulate import setup_of
from api.settings import Settings
from api.simulate import Held, failure
from api.testing import call, conversation, scripted_model
from tests.support.backend import ROOT, process

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
READERS = [ROOT / "Dockerfile", *(path for room in ("api", "tests", "tools") for path in (ROOT / room).glob("**/*.py"))]
READ_BY_LIBRARIES = {"LANGSMITH_TRACING", "OTEL_EXPORTER_OTLP_ENDPOINT"}
MADE_BY_THE_READER = {"tools/tides.py", "tests/runs/tides.json"}
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PATH = re.compile(r"`((?:agent|api|docs|tests|tools|\.ci|\.github)/[\w./-]*)`")


def blocks(page: Path, language: str) -> list[str]:
    return [body for name, body in _FENCE.findall(page.read_text(encoding="utf-8")) if name == language]


def each_block(language: str) -> list[Any]:
    return [
        pytest.param(body, id=f"{page.name}-{n}") for page in PAGES for n, body in enumerate(blocks(page, language))
    ]


def prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# Code


@pytest.mark.parametrize("code", each_block("python"))
async def test_python_in_the_documentation_runs_as_it_stands(code: str) -> None:
    """Tests in it are run, too."""
    names: dict[str, Any] = {"__name__": "documentation"}
    exec(compile(code, "documentation", "exec"), names)
    for test in [value for name, value in names.items() if name.startswith("test_")]:
        assert inspect.iscoroutinefunction(test)
        await test()


@pytest.mark.parametrize("page", ["README.md", "docs/tools.md"])
async def test_the_tool_is_called_once_it_is_saved(page: str, tmp_path: Path) -> None:
    (code,) = [code for code in blocks(ROOT / page, "python") if "def tides" in code]
    (tmp_path / "tides.py").write_text(code)
    model = scripted_model(call("tides", harbour="Dover"), "At ten past four.")
    async with conversation(model, tools=tmp_path) as talk:
        reply = await talk.say("When is high water in Dover?")
    assert reply.text == "Checking the tides in Dover. At ten past four."
    assert reply.tool_calls == [("tides", {"harbour": "Dover"})]


async def test_the_example_of_a_tools_inside_speaks_and_shows(tmp_path: Path) -> None:
    (code,) = [code for code in blocks(ROOT / "docs/tools.md", "python") if "def parcel" in code]
    (tmp_path / "parcel.py").write_text(code)
    model = scripted_model(call("parcel", number="42"), "It is at the depot.")
    async with conversation(model, tools=tmp_path) as talk:
        reply = await talk.say("Where is my parcel?")
    assert (reply.text, reply.data) == ("Nearly there. It is at the depot.", [{"parcel": "42"}])


def test_the_documented_test_is_about_the_tools_that_come_with_it() -> None:
    folder = ToolFolder(ROOT / "tools")
    folder.load()
    assert "book_table" in folder.tools


@pytest.mark.parametrize("code", each_block("json"))
def test_json_in_the_documentation_is_a_file_that_mcp_servers_takes(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLIGHTS_KEY", "key-7")
    (tmp_path / "mcp.json").write_text(code)
    assert load_servers(tmp_path / "mcp.json")


@pytest.mark.parametrize("text", each_block("yaml"))
def test_a_scenario_in_the_documentation_passes(text: str, tmp_path: Path) -> None:
    (tmp_path / "documented.yaml").write_text(text)
    setup = setup_of(Settings.model_construct(tools_dir=ROOT / "tools", system_prompt_file=None, welcome_message=""))
    row = Held(lambda: setup, tmp_path).one(tmp_path / "documented.yaml", setup)
    assert row.status == "passed", failure(row)


async def test_the_readmes_tool_is_recorded_in_a_chat_and_the_file_is_a_test(tmp_path: Path) -> None:
    """Its three blocks, one after the other: the tool, `voice chat --record`, and what replays the file."""
    (code,) = [code for code in blocks(ROOT / "README.md", "python") if "def tides" in code]
    (command,) = [
        words
        for script in blocks(ROOT / "README.md", "bash")
        for words in voice_commands(script)
        if "--record" in words
    ]
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "tides.py").write_text(code)
    env = {"MODEL": "demo", "TOOLS_DIR": "tools"}
    with process(command, **env) as chatting:
        said, _ = await asyncio.to_thread(chatting.communicate, "When is high water in Dover?\n", timeout=120)
    assert "Recorded: tests/runs/tides.json" in said
    with process(["replay", "tests/runs/tides.json"], **env) as replaying:
        said, _ = await asyncio.to_thread(replaying.communicate, timeout=120)
    assert replaying.returncode == 0, said


# Commands


def voice_commands(text: str) -> Iterator[list[str]]:
    """The words after `voice` in each command, whatever runs it."""
    for line in re.findall(r"(?:^|[\s&(])voice ((?:[a-z]+)\b[^\n]*)", text, re.MULTILINE):
        yield shlex.split(line, comments=True)


def parse(words: list[str]) -> None:
    """Raises when the command line cannot be understood. Nothing is run."""
    commands: Any = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    name, *rest = words
    commands[name].make_context(name, rest)


@pytest.mark.parametrize("script", each_block("bash"))
def test_every_voice_command_in_a_script_is_understood(script: str) -> None:
    for words in voice_commands(re.sub(r"^docker .*$", "", script, flags=re.MULTILINE)):
        parse(words)


def test_a_command_that_does_not_exist_would_be_found() -> None:
    assert list(voice_commands("uv run --no-dev voice dev --nothing")) == [["dev", "--nothing"]]
    for words in (["sing"], ["dev", "--nothing"], ["replay"]):
        with pytest.raises(Exception, match=r"sing|No such|Missing"):
            parse(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_voice_command_in_the_text_exists_with_its_options(page: Path) -> None:
    """In the text commands may be incomplete."""
    commands: Any = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for span in re.findall(r"`(?:uv run (?:--no-dev )?)?voice ([a-z][^`]*)`", prose(page)):
        name, *rest = span.replace("…", "").split()
        assert name in commands, span
        known = {option for parameter in commands[name].params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= known, span


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_variables_that_are_set_somewhere_are_read_somewhere(page: Path) -> None:
    """`NAME=value` in a command, in `.env` or in the text."""
    named = set(
        re.findall(r"(?:^|[`\s])([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|MODEL)=", page.read_text(encoding="utf-8"), re.MULTILINE)
    )
    read = "\n".join(path.read_text(encoding="utf-8") for path in [ROOT / ".env.example", *READERS])
    assert {name for name in named if not re.search(rf"\b{name}\b", read)} - READ_BY_LIBRARIES == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tasks_and_extras_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"\bpoe (\w+)", text)) <= set(PROJECT["tool"]["poe"]["tasks"])
    assert set(re.findall(r"--extra (\w+)", text)) <= set(PROJECT["project"]["optional-dependencies"])


# Paths and links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.is_file(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_that_are_named_exist(page: Path) -> None:
    named = set(_PATH.findall(page.read_text(encoding="utf-8"))) - MADE_BY_THE_READER
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"(docs/{page.name})" not in readme] == []


def test_the_rooms_that_are_described_are_those_that_there_are() -> None:
    described = set(re.findall(r"^\| `((?:agent|api)/\w+/)` \|", prose(ROOT / "docs/architecture.md"), re.MULTILINE))
    folders = {path.parent for top in ("agent", "api") for path in (ROOT / top).glob("*/**/*.py")}
    rooms = {"/".join(folder.relative_to(ROOT).parts[:2]) + "/" for folder in folders}
    assert described == rooms
