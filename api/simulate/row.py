"""A run of a scenario, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from api.simulate.simulation import Result

Status = Literal["passed", "failed", "skipped", "broken", "not run"]


@dataclass(frozen=True)
class Row:
    """A scenario's file and what came of it. result: if it was held. why: it was skipped, or the file is broken.
    seconds: of real time. saved: the run file of a conversation that has not passed. number: of the run, from 1.
    setting: what it was held with, where settings are compared."""

    path: Path
    status: Status
    result: Result | None = None
    why: str = ""
    seconds: float = 0.0
    saved: Path | None = None
    number: int = 1
    setting: str = ""

    @property
    def name(self) -> str:
        """Of this run."""
        return " ".join([self.path.stem, *filter(None, [self.setting, str(self.number) if self.number > 1 else ""])])

    @property
    def faults(self) -> Sequence[str]:
        """The cause first."""
        return self.result.faults if self.result else [self.why] if self.status == "broken" else []


def is_repeated(rows: Sequence[Row]) -> bool:
    """Whether scenarios were held several times, or with two settings: then their rates say more than each run."""
    return any(row.number > 1 or row.setting for row in rows)


def measures(row: Row) -> dict[str, Any]:
    """turns and tools: how many. first_words, silence, call: the longest there was, in seconds of the call."""
    conversation = row.result.conversation if row.result else None
    exchanges = conversation.exchanges if conversation else []
    return {
        "turns": sum(bool(exchange.said) for exchange in exchanges),
        "tools": len(conversation.tool_calls) if conversation else 0,
        "first_words": round(max((exchange.first_words or 0 for exchange in exchanges), default=0), 3),
        "silence": round(max((s for exchange in exchanges for _, s in exchange.silences()), default=0), 3),
        "call": round(conversation.seconds, 3) if conversation else 0,
    }
