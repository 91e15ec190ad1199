"""How far a turn is from the cheapest relay that could be written: `uv run python -m tests.bench`.

The relay (floor.py), this checkout's `voice serve` and, with --against, another checkout's run side by side on one
core; Gemini's stand-in and the callers on the others. Each part is measured in turn on each of them, round by
round, and the medians of the rounds are shown, with their ratio to the floor's. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import uvloop

from tests.bench.callers import Plan, Reply, closed, crowd, hang_up, percentile, talk
from tests.support.backend import ROOT, SECRET, free_port
from tests.support.postgres import postgres

_CORES = sorted(os.sched_getaffinity(0))
_MS = 1000
_PAUSE = 100  # ms between an answer's last word and the caller's next, where people talk as they do
Figures = dict[str, float]


@dataclass
class Server:
    """`process` is being measured. `faults`: what went wrong in all of its turns."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    faults: list[str]

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident(self) -> float:
        """KB of memory."""
        return float(self._proc("statm").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024

    def written(self) -> float:
        """KB written so far, to files and sockets."""
        return float(self._proc("io").split("wchar: ")[1].split()[0]) / 1024

    def _proc(self, name: str) -> str:
        return Path(f"/proc/{self.process.pid}/{name}").read_text()

    def note(self, replies: list[Reply]) -> list[Reply]:
        self.faults += [reply.fault for reply in replies if reply.fault]
        return replies


@dataclass
class Bench:
    model: int
    short: bool
    round: int = 0

    def named(self, what: str) -> str:
        return f"{what}-r{self.round}"

    async def alone(self, server: Server) -> Figures:
        cpu, turns = server.cpu(), 10 if self.short else 40
        replies = server.note(await talk(server.port, self.named("alone"), turns, Plan(pause=_PAUSE)))
        spent = server.cpu() - cpu
        return {
            "alone: CPU per turn, ms": spent / turns * _MS,
            "alone: first words p50, ms": percentile(_firsts(replies), 0.5) * _MS,
            "alone: first words p99, ms": percentile(_firsts(replies), 0.99) * _MS,
            "alone: a token's lag p50, ms": percentile(_lags(replies), 0.5) * _MS,
        }

    async def tool(self, server: Server) -> Figures:
        plan, turns = Plan(first=20, kind="tool", pause=_PAUSE), 5 if self.short else 20
        replies = server.note(await talk(server.port, self.named("tool"), turns, plan))
        return {"tool turn: first words p50, ms": percentile(_firsts(replies), 0.5) * _MS - plan.first}

    async def at_once(self, server: Server, callers: int) -> Figures:
        """At 50 people talk as they do; at more, the model is quicker than any server here, to find its limit."""
        plan = Plan(first=200, gap=20, pause=_PAUSE) if callers <= 50 else Plan(first=100, gap=5)
        turns = 2 if self.short else 4
        cpu = server.cpu()
        replies, seconds = await crowd(server.port, self.named(f"at{callers}"), callers, turns, plan)
        spent, label = server.cpu() - cpu, f"{callers} at once"
        server.note(replies)
        return {
            f"{label}: CPU per turn, ms": spent / len(replies) * _MS,
            f"{label}: first words p50, ms": percentile(_firsts(replies), 0.5) * _MS,
            f"{label}: first words p99, ms": percentile(_firsts(replies), 0.99) * _MS,
            f"{label}: a token's lag p50, ms": percentile(_lags(replies), 0.5) * _MS,
            f"{label}: turns per second": len(replies) / seconds,
        }

    async def memory(self, server: Server) -> Figures:
        """Open turns: the model lets all of them wait 2.5 s for its first token, which is within our patience."""
        callers, before = 300, server.resident()
        asking = asyncio.create_task(crowd(server.port, self.named("memory"), callers, 1, Plan(2, 2500, 0), spread=0.5))
        await asyncio.sleep(2)
        grown = server.resident() - before
        server.note((await asking)[0])
        return {"memory per open turn, KB": max(grown, 0) / callers}

    async def long(self, server: Server) -> Figures:
        """One conversation of 1,000 turns (short: 200): the last hundred against turns 10 to 110."""
        turns = 200 if self.short else 1000
        marks, had = [], 0
        for part in (10, 100, turns - 210, 100):
            server.note(await talk(server.port, self.named("long"), part, Plan(5, 0, 0), after=had))
            had += part
            marks.append((time.monotonic(), server.written()))
        early, late = ([b - a for a, b in zip(marks[n], marks[n + 1], strict=True)] for n in (0, 2))
        return {
            "turns 10-110: ms each": early[0] * 10,
            "the last 100 turns: ms each": late[0] * 10,
            "turns 10-110: KB written each": early[1] / 100,
            "the last 100 turns: KB written each": late[1] / 100,
        }

    async def barge_in(self, server: Server) -> Figures:
        hung_up = await hang_up(server.port, self.named(f"barge-{server.name}"), 50, Plan(first=50, gap=50))
        await asyncio.sleep(1)
        at = await closed(self.model)
        if server.name != "floor":  # which does not notice
            server.faults += ["the model was not hung up" for name in hung_up if name not in at]
        delays = [at[name] - when for name, when in hung_up.items() if name in at]
        return {f"barge-in to the model closed p{p}, ms": percentile(delays, p / 100) * _MS for p in (50, 99)}

    async def leak(self, server: Server) -> Figures:
        """Resident memory after 1,000 turns and after 10,000 more, twenty conversations at a time."""
        plan, sizes = Plan(5, 0, 0), []
        for count in (50, 500) if not self.short else (10, 50):
            for batch in range(count // 5):
                name = self.named(f"leak{count}-{batch}")
                server.note((await crowd(server.port, name, 20, 5, plan))[0])
            sizes.append(server.resident())
        return {"memory, MB": sizes[0] / 1024, "memory after ten times as many turns, MB": sizes[1] / 1024}


PARTS = {
    "memory": Bench.memory,  # first: what more callers at once have left behind would hide it
    "alone": Bench.alone,
    "tool": Bench.tool,
    "50": lambda bench, server: bench.at_once(server, 50),
    "200": lambda bench, server: bench.at_once(server, 200),
    "500": lambda bench, server: bench.at_once(server, 500),
    "barge-in": Bench.barge_in,
    "long": Bench.long,
    "leak": Bench.leak,
}


def _firsts(replies: Sequence[Reply]) -> list[float]:
    return [reply.first for reply in replies if reply.first is not None]


def _lags(replies: Sequence[Reply]) -> list[float]:
    return [lag for reply in replies for lag in reply.lags]


@contextmanager
def running(command: list[str], cores: Sequence[int], folder: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("LAYERCODE", "GOOGLE", "GEMINI"))
    }
    log = (folder / "log").open("ab")
    process = subprocess.Popen(
        [sys.executable, *command], cwd=folder, env={**clean, **env}, stdout=log, stderr=log,
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
        log.close()


def start(name: str, source: Path, stack: ExitStack, model: int, database: str = "") -> Server:
    """`floor`, or the `voice serve` of a checkout, with a database of its own, by default SQLite's."""
    folder, port, url = (
        Path(stack.enter_context(tempfile.TemporaryDirectory())),
        free_port(),
        f"http://127.0.0.1:{model}",
    )
    env = {
        "PYTHONPATH": str(source), "LAYERCODE_WEBHOOK_SECRET": SECRET, "GOOGLE_API_KEY": "bench",
        "GOOGLE_GEMINI_BASE_URL": url, "DATABASE_URL": database or f"sqlite:///{folder}/voice.db",
        "TOOLS_DIR": str(source / "tools"), "MAX_TURNS": "1000",
    }  # fmt: skip
    floor = ["-m", "tests.bench.floor", str(port), url]
    command = floor if name == "floor" else ["-m", "api.cli.main", "serve", "--port", str(port)]
    return Server(name, port, stack.enter_context(running(command, _CORES[:1], folder, **env)), [])


async def until_open(server: Server) -> None:
    for _ in range(300):
        assert server.process.poll() is None, f"{server.name} did not start"
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            return writer.close()
        except OSError:
            await asyncio.sleep(0.1)
    raise SystemExit(f"{server.name} does not listen after 30 s")


async def measure(
    servers: Sequence[Server], bench: Bench, parts: Sequence[str], rounds: int
) -> dict[str, dict[str, float]]:
    """By figure and server, what came of the rounds."""
    seen: dict[str, dict[str, list[float]]] = {}
    for server in servers:
        await until_open(server)
        server.note((await crowd(server.port, "warm", 10, 3, Plan()))[0])
    for part in parts:
        for bench.round in range(rounds):
            for server in servers:
                print(
                    f"\r{part}, round {bench.round + 1} of {rounds}: {server.name}\033[K",
                    end="",
                    flush=True,
                    file=sys.stderr,
                )
                for figure, value in (await PARTS[part](bench, server)).items():
                    seen.setdefault(figure, {}).setdefault(server.name, []).append(value)
    print("\r\033[K", end="", file=sys.stderr)
    return {figure: {name: _of_rounds(figure, values) for name, values in by.items()} for figure, by in seen.items()}


def _of_rounds(figure: str, values: Sequence[float]) -> float:
    """Their median; of memory the most, as the process keeps for the later rounds what the first one took."""
    return max(values) if figure.startswith("memory") else median(values)


def table(figures: dict[str, dict[str, float]], servers: Sequence[Server]) -> Iterator[str]:
    names = [server.name for server in servers]
    yield (
        f"{'':42}" + "".join(f"{name:>12}" for name in names) + "".join(f"{name + '/floor':>14}" for name in names[1:])
    )
    for figure, by in figures.items():
        ratios = (f"{by[name] / by['floor']:14.1f}" if by["floor"] else f"{'–':>14}" for name in names[1:])
        yield f"{figure:42}" + "".join(f"{by[name]:12.1f}" for name in names) + "".join(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--part", action="append", choices=PARTS, help="only this part; may be given again")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--short", action="store_true", help="fewer turns: a first look")
    parser.add_argument("--against", type=Path, help="another checkout, measured beside this one")
    parser.add_argument("--postgres", action="store_true", help="also with Postgres, which has the callers' cores")
    options = parser.parse_args()
    parts = options.part or [part for part in PARTS if part != "leak"]
    with ExitStack() as stack:
        os.sched_setaffinity(0, _CORES[1:] or _CORES)
        model, folder = free_port(), Path(stack.enter_context(tempfile.TemporaryDirectory()))
        standin = ["-m", "tests.bench.standin", str(model)]
        stack.enter_context(running(standin, _CORES[1:] or _CORES, folder, PYTHONPATH=str(ROOT)))
        servers = [start("floor", ROOT, stack, model), start("ours", ROOT, stack, model)]
        if options.against:
            servers.insert(1, start("against", options.against.resolve(), stack, model))
        if options.postgres:
            servers.append(start("postgres", ROOT, stack, model, stack.enter_context(postgres()).new()))
        figures = uvloop.run(measure(servers, Bench(model, options.short), parts, options.rounds))
        print(*table(figures, servers), sep="\n")
        for server in servers:
            print(f"{server.name}: {len(server.faults)} faults {sorted(set(server.faults))[:5]}")


if __name__ == "__main__":
    main()
