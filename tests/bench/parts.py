"""The parts of the benchmark: each takes a server through one load, and returns what it saw."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from api.platforms import CLIENTS
from tests.bench.callers import Plan, Reply, closed, crowd, hang_up, percentile, talk
from tests.bench.platforms import talk_over
from tests.bench.servers import RELAY, Server, cpu

_MS = 1000
_PAUSE = 100  # ms between an answer's last word and the caller's next, where people talk as they do
Figures = dict[str, float]


@dataclass
class Bench:
    """`round` is in the conversations' names: each round has new ones."""

    model_port: int
    model: subprocess.Popen[bytes]
    short: bool
    round: int = 0

    def named(self, what: str) -> str:
        return f"{what}-r{self.round}"

    async def alone(self, server: Server) -> Figures:
        return await self._one(server, "alone", 10 if self.short else 40, Plan(pause=_PAUSE))

    async def tool(self, server: Server) -> Figures:
        return await self._one(server, "tool turn", 5 if self.short else 20, Plan(first=20, kind="tool", pause=_PAUSE))

    async def _one(self, server: Server, label: str, turns: int, plan: Plan) -> Figures:
        before = server.cpu()
        replies = _noted(server, await talk(server.port, self.named(label.replace(" ", "-")), turns, plan))
        return _of_turns(label, replies, server.cpu() - before)

    async def platforms(self, server: Server) -> Figures:
        """First words over each platform's wire, turn about with Layercode's. The relay speaks Layercode only."""
        firsts: dict[str, list[float]] = {platform: [] for platform in CLIENTS}
        if server.name != RELAY:
            for talk in range(1 if self.short else 3):
                for platform in CLIENTS:
                    name = self.named(f"{platform}-{talk}")
                    replies = _noted(server, await talk_over(platform, server.port, name, 5, Plan(pause=_PAUSE)))
                    firsts[platform] += [reply.first for reply in replies if reply.first is not None]
        middle = {platform: percentile(seen, 0.5) * _MS for platform, seen in firsts.items()}
        return {
            **{f"{platform}: first words p50, ms": ms for platform, ms in middle.items()},
            **{f"{one}: first words, of Layercode's": ms / middle["layercode"] for one, ms in middle.items()},
        }

    async def at_once(self, server: Server, callers: int) -> Figures:
        """At 50 people talk as they do; at more, the model is quicker than the servers here, to find their limit."""
        plan = Plan(first=200, gap=20, pause=_PAUSE) if callers <= 50 else Plan(first=100, gap=5)
        turns, label = 2 if self.short else 4, f"{callers} at once"
        before, load = server.cpu(), self._load()
        replies, seconds = await crowd(server.port, self.named(f"at{callers}"), callers, turns, plan)
        spent, load = server.cpu() - before, self._load() - load
        most = callers * turns / (turns * plan.seconds + plan.spread)
        return {
            **_of_turns(label, _noted(server, replies), spent),
            f"{label}: turns per second, of about {most:.0f} asked for": len(replies) / seconds,
            f"{label}: callers and model, % of a core": load / seconds * 100,
        }

    def _load(self) -> float:
        """Seconds of CPU that callers and model have taken: they are a limit too."""
        return time.process_time() + cpu(self.model)

    async def memory(self, server: Server) -> Figures:
        """Open turns: the model lets all of them wait 2.5 s for its first token, which is within our patience."""
        callers, before = 300, server.resident()
        asking = asyncio.create_task(crowd(server.port, self.named("memory"), callers, 1, Plan(2, 2500, 0), spread=0.5))
        await asyncio.sleep(2)
        grown = server.resident() - before
        _noted(server, (await asking)[0])
        return {"memory per open turn, KB": max(grown, 0) / callers}

    async def long(self, server: Server) -> Figures:
        """One conversation of 1,000 turns (short: 220): the last hundred against turns 10 to 110."""
        turns = 220 if self.short else 1000
        marks, had = [], 0
        for part in (10, 100, turns - 210, 100):
            _noted(server, await talk(server.port, self.named("long"), part, Plan(5, 0, 0), after=had))
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
        at = await closed(self.model_port)
        server.faults += ["the model was not hung up" for name in hung_up if name not in at]
        delays = [at[name] - when for name, when in hung_up.items() if name in at]
        return {
            f"barge-in to the model closed p{p} of {len(hung_up)}, ms": percentile(delays, p / 100) * _MS
            for p in (50, 99)
        }

    async def leak(self, server: Server) -> Figures:
        """Resident memory after 1,000 turns and after 10,000 more, twenty conversations at a time."""
        plan, sizes = Plan(5, 0, 0), []
        for count in (50, 500) if not self.short else (10, 50):
            for batch in range(count // 5):
                name = self.named(f"leak{count}-{batch}")
                _noted(server, (await crowd(server.port, name, 20, 5, plan))[0])
            sizes.append(server.resident())
        return {"memory, MB": sizes[0] / 1024, "memory after ten times as many turns, MB": sizes[1] / 1024}


PARTS: dict[str, Callable[[Bench, Server], Awaitable[Figures]]] = {
    "memory": Bench.memory,  # first: what more callers at once have left behind would hide it
    "alone": Bench.alone,
    "tool": Bench.tool,
    "platforms": Bench.platforms,
    "50": lambda bench, server: bench.at_once(server, 50),
    "200": lambda bench, server: bench.at_once(server, 200),
    "500": lambda bench, server: bench.at_once(server, 500),
    "barge-in": Bench.barge_in,
    "long": Bench.long,
    "leak": Bench.leak,
}


async def warm(server: Server) -> None:
    await server.until_open()
    _noted(server, (await crowd(server.port, "warm", 10, 3, Plan()))[0])


def _noted(server: Server, replies: list[Reply]) -> list[Reply]:
    server.faults += [reply.fault for reply in replies if reply.fault]
    return replies


def _of_turns(label: str, replies: Sequence[Reply], spent: float) -> Figures:
    firsts = [reply.first for reply in replies if reply.first is not None]
    lags = [lag for reply in replies for lag in reply.lags]
    return {
        f"{label}: CPU per turn of {len(replies)}, ms": spent / len(replies) * _MS,
        f"{label}: first words p50 of {len(replies)}, ms": percentile(firsts, 0.5) * _MS,
        f"{label}: first words p99 of {len(replies)}, ms": percentile(firsts, 0.99) * _MS,
        f"{label}: a token's lag p50, ms": percentile(lags, 0.5) * _MS,
    }
