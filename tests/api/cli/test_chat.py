"""`voice chat`: from a pipe a turn for each line, in a terminal a conversation that can be interrupted."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from api.cli.main import app
from tests.support.backend import ROOT
from tests.support.gemini import Gemini, text

NOTICE = "*** DEMO: no model key is set"
TOOL = '''
from agent import show, voice_tool

@voice_tool(say="Checking the tides in {harbour}.")
async def tides(harbour: str) -> str:
    """Next high and low water at a harbour."""
    show({"chart": harbour})
    return f"High water at six in {harbour}."
'''


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "tides.py").write_text(TOOL)
    monkeypatch.setenv("TOOLS_DIR", str(tmp_path / "tools"))


def chat(lines: str, *options: str) -> Result:
    result = CliRunner().invoke(app, ["chat", *options], input=lines)
    assert result.exit_code == 0, result.output
    return result


# From a pipe


def test_each_line_of_a_pipe_is_answered() -> None:
    """Progress and tool lines stand apart from the answer; blank lines are nobody's turn."""
    result = chat("When are the tides in Dover?\n\n  \nHello\nWhen are the tides in Brest?")
    lines = [re.sub(r"\d+ ms", "N ms", line) for line in result.stdout.splitlines()]
    assert lines == [
        "  … Checking the tides in Dover.",
        "  [tides] started",
        '  [shows] {"chart": "Dover"}',
        "  [tides] finished (N ms)",
        "agent: This is the demo: no language model, only your tools. High water at six in Dover.",
        "agent: I found no tool for that. The tools here are: tides.",
        "  … Checking the tides in Brest.",
        "  [tides] started",
        '  [shows] {"chart": "Brest"}',
        "  [tides] finished (N ms)",
        "agent: High water at six in Brest.",
    ]


def test_the_agent_hangs_up_after_its_goodbye(tmp_path: Path) -> None:
    """What comes after it is not answered, and the conversation is a recorded run that ends in the same way."""
    shutil.copy(ROOT / "tools" / "call.py", tmp_path / "tools")
    run = str(tmp_path / "bye.json")
    result = chat("Thanks, bye\nHello?", "--record", run)
    assert result.stdout.splitlines()[0] == "agent: Goodbye."
    assert result.stdout.splitlines()[3:] == [
        "  — hung up",
        f"Recorded: {run}. It is a test when it stands in tests/runs/.",
    ]
    assert CliRunner().invoke(app, ["replay", run]).exit_code == 0


def test_without_a_key_it_is_the_demo_and_says_so_in_a_line_nobody_can_miss() -> None:
    (line,) = chat("Hello\n").stderr.splitlines()
    assert line.startswith(NOTICE)
    assert "GOOGLE_GENERATIVE_AI_API_KEY" in line


def test_demo_on_purpose_needs_no_notice_and_asks_no_model(gemini: Gemini, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "test-key")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", gemini.url)
    result = chat("Hello\n", "--demo")
    assert NOTICE not in result.output
    assert "agent: This is the demo" in result.stdout
    assert not gemini.requests


def test_the_welcome_is_said_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WELCOME_MESSAGE", "Welcome aboard.")
    assert chat("").stdout == "agent: Welcome aboard.\n"


def test_a_broken_tool_file_does_not_prevent_a_chat(tmp_path: Path) -> None:
    (tmp_path / "tools" / "broken.py").write_text("1 / 0\n")
    result = chat("When are the tides in Dover?\n")
    assert f"{tmp_path}/tools/broken.py:1: ZeroDivisionError" in result.stderr
    assert "High water at six in Dover." in result.stdout


def test_a_database_that_cannot_be_opened_is_a_clear_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}")
    result = CliRunner().invoke(app, ["chat", "--demo"], input="Hello\n")
    assert result.exit_code == 2
    assert result.stderr == f"The database sqlite:///{tmp_path} cannot be opened: unable to open database file.\n"


# In a terminal

# Makes its standard input the controlling terminal, so that Ctrl-C typed there is a signal.
START = """
import fcntl, runpy, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
sys.argv = ["voice", "chat"]
runpy.run_module("api.cli.main", run_name="__main__")
"""
CTRL_C, CTRL_D = "\x03", "\x04"


class Terminal:
    """A terminal in which `voice chat` runs."""

    def __init__(self, process: subprocess.Popen[bytes], screen: int) -> None:
        self.process = process
        self._screen = screen
        self._unread = ""

    def type(self, keys: str) -> None:
        os.write(self._screen, keys.encode())

    def expect(self, words: str, timeout: float = 20) -> str:
        """What appears up to and with these words."""
        until = time.monotonic() + timeout
        while words not in self._unread:
            ready, _, _ = select.select([self._screen], [], [], max(0, until - time.monotonic()))
            assert ready, f"{words!r} did not appear after {self._unread!r}"
            self._unread += os.read(self._screen, 4096).decode(errors="replace")
        before, _, self._unread = self._unread.partition(words)
        return before + words


@contextmanager
def terminal(**env: str) -> Iterator[Terminal]:
    screen, keyboard = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", START],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb", **env},
        stdin=keyboard, stdout=keyboard, stderr=keyboard, start_new_session=True,
    )  # fmt: skip
    os.close(keyboard)
    try:
        yield Terminal(process, screen)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        os.close(screen)


def test_ctrl_c_interrupts_the_agent_but_never_ends_the_chat_and_ctrl_d_leaves(gemini: Gemini) -> None:
    """What the agent is shown next of its answer are the words that had been printed."""
    gemini.script(text("one two three four five six seven eight nine ten", delay=0.3), text("Yes, I am here."))
    with terminal(GEMINI_API_KEY="test-key", GOOGLE_GEMINI_BASE_URL=gemini.url) as chat:
        chat.expect("you: ")
        chat.type("Count to ten\n")
        chat.expect("agent: ")
        chat.expect("three")
        chat.type(CTRL_C)
        after = chat.expect("— interrupted", timeout=2)
        assert "ten" not in after
        chat.expect("you: ")

        chat.type(CTRL_C)
        chat.expect("(Ctrl-D leaves.)")
        chat.expect("you: ")
        chat.type("Are you there?\n")
        chat.expect("Yes, I am here.")
        chat.expect("you: ")
        chat.type(CTRL_D)
        assert chat.process.wait(10) == 0

    cut = gemini.requests[1].body["contents"][1]["parts"][0]["text"]
    assert cut.startswith("one two three")
    assert "one two three four five six seven eight nine ten".startswith(cut)
    assert not cut.endswith("ten")
    asked = gemini.requests[1].body["contents"][-1]["parts"][0]["text"]
    assert asked.startswith("⟦system: The caller interrupted you")
    assert asked.endswith("Are you there?")
    assert gemini.requests[0].closed_early
