"""What is measured, each in a process of its own on one core: the relay, and `voice serve` of a checkout."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent.parent
SECRET = "whsec_0123456789abcdef"
PLATFORM_SECRET = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
RELAY = "relay"
CORES = sorted(os.sched_getaffinity(0))
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")  # of the environment: no setting may come from there


def cpu(process: subprocess.Popen[bytes]) -> float:
    """Seconds of CPU so far. The number is clock_getcpuclockid(3)'s: /proc counts in hundredths of a second."""
    return time.clock_gettime(~process.pid << 3 | 2)


@dataclass
class Server:
    """`process` is being measured. `faults`: what went wrong in all of its turns."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    faults: list[str] = field(default_factory=list)

    def cpu(self) -> float:
        return cpu(self.process)

    def resident(self) -> float:
        """KB of memory."""
        return float(self._proc("statm").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024

    def written(self) -> float:
        """KB written so far, to files and sockets."""
        return float(self._proc("io").split("wchar: ")[1].split()[0]) / 1024

    def _proc(self, name: str) -> str:
        return Path(f"/proc/{self.process.pid}/{name}").read_text()

    async def until_open(self) -> None:
        for _ in range(300):
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} did not start:\n{self.log.read_text()[-2000:]}")
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                return writer.close()
            except OSError:
                await asyncio.sleep(0.1)
        raise SystemExit(f"{self.name} does not listen after 30 s")


@contextmanager
def running(command: list[str], cores: Sequence[int], folder: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={**kept, **env}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def model(stack: ExitStack) -> tuple[int, subprocess.Popen[bytes]]:
    """Gemini's stand-in: its port, and its process."""
    port, folder = _free_port(), _folder(stack)
    command = [sys.executable, "-m", "tests.bench.standin", str(port)]
    return port, stack.enter_context(running(command, CORES[1:] or CORES, folder, PYTHONPATH=str(ROOT)))


def relay(stack: ExitStack, model_port: int) -> Server:
    port, folder = _free_port(), _folder(stack)
    command = [sys.executable, "-m", "tests.bench.floor", str(port), f"http://127.0.0.1:{model_port}"]
    env = {"PYTHONPATH": str(ROOT), "LAYERCODE_WEBHOOK_SECRET": SECRET}
    return Server(RELAY, port, stack.enter_context(running(command, CORES[:1], folder, **env)), folder / "log")


def serve(stack: ExitStack, name: str, source: Path, voice: Path, model_port: int, database: str = "") -> Server:
    """`voice serve` of a checkout, with a database of its own, by default SQLite's. It runs in a folder of its own: a
    `.env` in the checkout would be read otherwise."""
    port, folder = _free_port(), _folder(stack)
    env = {
        "LAYERCODE_WEBHOOK_SECRET": SECRET, "GOOGLE_API_KEY": "bench", "TOOLS_DIR": str(source / "tools"),
        "GOOGLE_GEMINI_BASE_URL": f"http://127.0.0.1:{model_port}", "MAX_TURNS": "1000",
        "DATABASE_URL": database or f"sqlite:///{folder}/voice.db", "TWILIO_AUTH_TOKEN": PLATFORM_SECRET,
        "ELEVENLABS_API_KEY": PLATFORM_SECRET, "COMPLETIONS_API_KEY": PLATFORM_SECRET,
    }  # fmt: skip
    command = [str(voice), "serve", "--host", "127.0.0.1", "--port", str(port)]
    return Server(name, port, stack.enter_context(running(command, CORES[:1], folder, **env)), folder / "log")


def command_of(checkout: Path) -> Path:
    """The `voice` that is installed in a checkout's own environment."""
    voice = checkout / ".venv" / "bin" / "voice"
    if not voice.exists():
        raise SystemExit(f"There is no {voice}: run `uv sync` in {checkout}.")
    return voice


def _folder(stack: ExitStack) -> Path:
    return Path(stack.enter_context(TemporaryDirectory()))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
