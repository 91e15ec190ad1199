"""A tool file with a hook that writes down which calls are over, and a look at what it wrote."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

_HOOK = """
import asyncio
import json
from dataclasses import asdict
from pathlib import Path

from agent import EndedCall

HERE = Path(__file__)


def write(line):
    with HERE.with_suffix(".jsonl").open("a") as file:
        file.write(line + "\\n")


async def call_ended(call: EndedCall) -> None:
    told = {name: value for name, value in vars(call).items() if name not in ("http", "database")}
    told |= {name: [asdict(one) for one in told[name]] for name in ("transcript", "tool_calls")}
    await asyncio.to_thread(write, json.dumps(told, default=str))
    if await asyncio.to_thread(HERE.with_suffix(".fails").exists):
        raise RuntimeError("the secret is 42")
"""


class EndedCalls:
    """folder: where the tool file stands, beside others perhaps."""

    def __init__(self, folder: Path, name: str = "report") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / f"{name}.py"
        self._file.write_text(_HOOK)

    def fail(self, fails: bool) -> None:
        """What the hook does from now on, after it has written."""
        mark = self._file.with_suffix(".fails")
        mark.touch() if fails else mark.unlink()

    def told(self, conversation: str | None = None) -> list[dict[str, Any]]:
        """What the hook was given, each time it was called."""
        file = self._file.with_suffix(".jsonl")
        lines = file.read_text().splitlines() if file.exists() else []
        calls = [json.loads(line) for line in lines]
        return [call for call in calls if conversation in (None, call["conversation_id"])]

    async def until(self, count: int, conversation: str | None = None, seconds: float = 15.0) -> list[dict[str, Any]]:
        """What it was given once it has been called so often."""
        async with asyncio.timeout(seconds):
            while len(self.told(conversation)) < count:
                await asyncio.sleep(0.02)
        return self.told(conversation)


def lines(call: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """The transcript: (role, words, whether they were interrupted)."""
    return [(line["role"], line["text"], line["interrupted"]) for line in call["transcript"]]
