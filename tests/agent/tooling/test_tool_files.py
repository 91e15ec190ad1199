"""The folder of tools: found by dropping a file in, read again when it changes, broken ones explained."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent.tooling.folder import ToolFileError, ToolFolder

TOOL = '''
from agent import voice_tool

@voice_tool
async def {name}(place: str) -> str:
    """{doc}"""
    return "{doc}"
'''


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[ToolFolder]:
    """Named apart from our own `tools`; modules imported from it are forgotten."""
    path = tmp_path / "some_tools"
    path.mkdir()
    yield ToolFolder(path)
    for name in [name for name in sys.modules if name.startswith("some_tools")]:
        del sys.modules[name]


def put(folder: ToolFolder, file: str, text: str) -> Path:
    """Write a file as an editor does, in one step; always with another time than before."""
    path = folder.path / file
    before = path.stat().st_mtime_ns if path.exists() else 0
    (draft := folder.path / f"{file}~").write_text(text)
    draft.replace(path)
    if path.stat().st_mtime_ns == before:
        os.utime(path, ns=(before + 1, before + 1))
    return path


def tool(name: str, doc: str = "Does something.") -> str:
    return TOOL.format(name=name, doc=doc)


def error(folder: ToolFolder) -> str:
    with pytest.raises(ToolFileError) as raised:
        folder.load()
    return str(raised.value)


# Reading it


def test_every_tool_of_every_file_is_found_with_its_file(folder: ToolFolder) -> None:
    put(folder, "tides.py", tool("tides") + tool("currents"))
    put(folder, "moon.py", tool("moon"))
    folder.load()
    assert sorted(folder.tools) == ["currents", "moon", "tides"]
    assert folder.owner_of("currents") == str(folder.path / "tides.py")


def test_a_plain_langchain_tool_is_a_tool_too(folder: ToolFolder) -> None:
    put(folder, "plain.py", 'from langchain_core.tools import tool\n@tool\ndef plain() -> str:\n    "It is plain."\n')
    folder.load()
    assert list(folder.tools) == ["plain"]


def test_helpers_and_what_editors_leave_beside_are_not_tool_files(folder: ToolFolder) -> None:
    """Emacs locks a file by a link into nowhere, `.#tides.py`; macOS keeps `._tides.py` beside it."""
    put(folder, "tides.py", tool("tides"))
    put(folder, "_helper.py", "raise RuntimeError")
    put(folder, "._tides.py", "\0")
    (folder.path / ".#tides.py").symlink_to("user@host.1234")
    (folder.path / "gone.py").symlink_to("nowhere")
    folder.load()
    assert list(folder.tools) == ["tides"]


def test_an_empty_folder_has_no_tools_and_a_missing_one_is_an_error(folder: ToolFolder) -> None:
    folder.load()
    assert not folder.tools
    missing = folder.path / "missing"
    assert error(ToolFolder(missing)) == f"There is no folder {missing} with tools in it: set TOOLS_DIR or make it."


# What is wrong


@pytest.mark.parametrize(
    ("text", "line", "kind"),
    [
        ("x = 1\ndef broken(:\n", 2, "SyntaxError"),
        ("import nowhere_to_be_found\n", 1, "ModuleNotFoundError"),
        ("def f():\n    return 1 / 0\n\nf()\n", 2, "ZeroDivisionError"),
        ("\n\nraise SystemExit(3)\n", 3, "SystemExit"),
        ("from agent import voice_tool\n\n@voice_tool\ndef mute():\n    pass\n", 3, "ValueError"),
        ("raise ValueError('two\\nlines')\n", 1, "ValueError: two lines"),
    ],
)
def test_a_file_that_does_not_import_is_explained_with_file_and_line(
    folder: ToolFolder, text: str, line: int, kind: str
) -> None:
    path = put(folder, "broken.py", text)
    message = error(folder)
    assert message.startswith(f"{path}:{line}: {kind}")
    assert len(message.splitlines()) == 1


def test_two_files_with_a_tool_of_one_name_are_both_named(folder: ToolFolder) -> None:
    one, two = put(folder, "one.py", tool("tides")), put(folder, "two.py", tool("tides"))
    assert error(folder) == f"{one} and {two} both have a tool 'tides': rename one."


def test_two_tools_of_one_name_in_a_file_are_an_error(folder: ToolFolder) -> None:
    path = put(folder, "one.py", tool("tides") + tool("other").replace("@voice_tool", '@voice_tool(name="tides")'))
    assert error(folder) == f"{path} has two tools 'tides': rename one."


def test_one_tool_under_two_variables_is_one_tool(folder: ToolFolder) -> None:
    put(folder, "tides.py", tool("tides") + "also = tides\n")
    folder.load()
    assert list(folder.tools) == ["tides"]


def test_everything_that_is_wrong_is_named_at_once(folder: ToolFolder) -> None:
    one, two = put(folder, "one.py", "1 / 0"), put(folder, "two.py", "import nowhere_to_be_found")
    assert [line.partition(":")[0] for line in error(folder).splitlines()] == [str(one), str(two)]


# While it runs


def test_a_file_added_changed_and_deleted_is_seen(folder: ToolFolder) -> None:
    folder.load()
    put(folder, "tides.py", tool("tides", "First."))
    assert folder.refresh() == []
    assert folder.tools["tides"].description == "First."
    put(folder, "tides.py", tool("tides", "Second."))
    assert folder.refresh() == []
    assert folder.tools["tides"].description == "Second."
    (folder.path / "tides.py").unlink()
    assert folder.refresh() == []
    assert not folder.tools


def test_a_broken_file_keeps_its_last_good_tools_and_is_reported_once(folder: ToolFolder) -> None:
    path = put(folder, "tides.py", tool("tides", "Good."))
    put(folder, "moon.py", tool("moon"))
    folder.load()
    put(folder, "tides.py", "def broken(:\n")
    (fault,) = folder.refresh()
    assert str(fault).startswith(f"{path}:1: SyntaxError")
    assert folder.tools["tides"].description == "Good."
    assert "moon" in folder.tools
    assert folder.refresh() == []
    put(folder, "tides.py", "def still_broken(:\n")
    assert len(folder.refresh()) == 1
    assert folder.tools["tides"].description == "Good."
    put(folder, "tides.py", tool("tides", "Mended."))
    assert folder.refresh() == []
    assert folder.tools["tides"].description == "Mended."


def test_a_broken_file_that_is_deleted_takes_its_tools_along(folder: ToolFolder) -> None:
    put(folder, "tides.py", tool("tides"))
    folder.load()
    put(folder, "tides.py", "1 / 0")
    folder.refresh()
    (folder.path / "tides.py").unlink()
    assert folder.refresh() == []
    assert not folder.tools


def test_the_tools_are_the_same_object_while_nothing_changes(folder: ToolFolder) -> None:
    put(folder, "tides.py", tool("tides"))
    folder.load()
    before = folder.tools
    assert folder.refresh() == []
    assert folder.tools is before
    (folder.path / "tides.py").unlink()
    folder.refresh()
    assert "tides" in before, "a turn that has begun keeps its tools"


def test_a_changed_helper_is_seen_by_the_files_that_import_it(
    folder: ToolFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(folder.path.parent))
    put(folder, "_words.py", 'WORD = "one"\n')
    put(folder, "tides.py", tool("tides") + "from some_tools._words import WORD\ntides.description = WORD\n")
    folder.load()
    assert folder.tools["tides"].description == "one"
    put(folder, "_words.py", 'WORD = "another"\n')
    assert folder.refresh() == []
    assert folder.tools["tides"].description == "another"


def test_turns_that_begin_at_once_may_all_read_it(folder: ToolFolder) -> None:
    """They do so in threads; each comes back with the tools there, and one of them with the error."""
    folder.load()
    for number in range(8):
        put(folder, f"tool_{number}.py", tool(f"tool_{number}"))
    put(folder, "broken.py", "import time\ntime.sleep(0.02)\n1 / 0\n")
    with ThreadPoolExecutor(8) as threads:
        errors = [fault for faults in threads.map(lambda _: folder.refresh(), range(8)) for fault in faults]
    assert len(errors) == 1
    assert len(folder.tools) == 8
