"""`voice` commands in processes of their own, forked from one that has imported the product already.

Importing it takes three seconds of a core, and the tests start hundreds of processes. What is forked is a process
like any other, with memory, descriptors, environment and folder of its own; only how it came to its modules differs.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TextIO

_forking = multiprocessing.get_context("forkserver")
_forking.set_forkserver_preload(["api.cli.main", "api.app", "agent.llm.gemini", __name__])


class Process:
    """`voice COMMAND`: as much of `subprocess.Popen` as the tests use. What it prints goes to a file: a pipe would fill
    while nobody reads it, and hold the process up."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        entered, to_it = _forking.Pipe(duplex=False)
        self._output = tempfile.NamedTemporaryFile("r")  # noqa: SIM115 - `communicate` closes it
        with entered, to_it:
            arguments = command, dict(env), Path.cwd(), entered, self._output.name
            self._process = _forking.Process(target=_voice, args=arguments)
            self._process.start()
            self.stdin: TextIO = os.fdopen(os.dup(to_it.fileno()), "w")
        assert self._process.pid
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | Any:
        """None while it runs; the negative number of the signal that ended it."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("voice", timeout or 0)
        return self._process.exitcode

    def communicate(self, entered: str = "", timeout: float | None = None) -> tuple[str, None]:
        """Waits for its end. What it printed."""
        if not self.stdin.closed:
            self.stdin.write(entered)
            self.stdin.close()
        self.wait(timeout)
        printed = "" if self._output.closed else self.printed()
        self._output.close()
        return printed, None

    def printed(self) -> str:
        """So far."""
        self._output.seek(0)
        return self._output.read()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()


def _voice(command: Sequence[str], env: Mapping[str, str], folder: Path, entered: Connection, output: str) -> None:
    os.dup2(entered.fileno(), 0)
    entered.close()
    printed = os.open(output, os.O_WRONLY | os.O_APPEND)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    os.close(printed)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    sys.argv = ["voice", *command]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, if whoever runs the tests ignores it
    from api.cli.main import app

    app()
