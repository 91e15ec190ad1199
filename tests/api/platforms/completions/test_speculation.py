"""A client that asks on guesses: each turn comes as three requests, of which two are dropped at a random moment. What
was meant is done once, and nothing ever for a guess (livekit/agents#5924 is the opposite of this).

`SPECULATED_TURNS=1000` makes it that many turns.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI

from tests.support.backend import backend
from tests.support.conversation import offered, question, steps_taken
from tests.support.gemini import Gemini, Step, calls, text
from tests.support.platforms import COMPLETIONS_KEY, platform_settings

TURNS = int(os.environ.get("SPECULATED_TURNS", "30"))
CALLERS = 10 if TURNS < 200 else 25
HOLD = 1.0  # seconds that an action waits
DROPPED = 0.4  # of them, at most, before a guess is dropped
TOOLS = '''
from pathlib import Path

from agent import voice_tool


def write(what):
    with Path(__file__).with_name("done.txt").open("a") as file:
        file.write(what + "\\n")


@voice_tool
def order(item: str) -> str:
    """An action."""
    write(f"order {item}")
    return "Ordered."


@voice_tool(on_barge_in="protect")
def pay(item: str) -> str:
    """An action that is protected."""
    write(f"pay {item}")
    return "Paid."


@voice_tool(confirm="Reserve {item}?")
def reserve(item: str) -> str:
    """An action that is confirmed."""
    write(f"reserve {item}")
    return "Reserved."


@voice_tool(on_barge_in="cancel")
def look(item: str) -> str:
    """Only reads."""
    return f"{item} is there."
'''


def model(body: dict[str, Any]) -> Step:
    """Calls the tool that the caller names, with the word behind it."""
    if "tools" not in body:
        return text("A summary of what was done.")
    if steps_taken(body):
        return text("There you are.")
    verb, item, *_ = question(body).split()
    if verb in ("yes", "no"):
        return calls(("confirm", {"yes": verb == "yes"})) if "confirm" in offered(body) else text("What?")
    return calls((verb, {"item": item}))


class Speculator:
    """A client in one conversation."""

    def __init__(self, openai: AsyncOpenAI, name: str, chance: random.Random) -> None:
        self._openai, self._name, self._chance = openai, name, chance
        self._messages: list[Any] = []
        self.meant: list[str] = []

    async def turn(self, words: str, *guesses: str, stream: bool = True) -> None:
        for guess in guesses:
            await self._dropped(guess, stream)
        said = await self._ask(words, stream)
        self._messages += [{"role": "user", "content": words}, {"role": "assistant", "content": said}]

    async def _dropped(self, words: str, stream: bool) -> None:
        asking = asyncio.create_task(self._ask(words, stream))
        await asyncio.sleep(self._chance.uniform(0, DROPPED))
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking

    async def _ask(self, words: str, stream: bool) -> str:
        messages = [*self._messages, {"role": "user", "content": words}]
        made: Any = await self._openai.chat.completions.create(
            model="any", user=self._name, messages=messages, stream=stream
        )
        if stream:
            return "".join([chunk.choices[0].delta.content or "" async for chunk in made])
        return str(made.choices[0].message.content)

    async def converse(self, turns: int) -> None:
        number = 0
        while number < turns:
            verb = self._chance.choice(["order", "pay", "look", "reserve"])
            item, other = f"{self._name}-{number}", f"{self._name}-{number}-guessed"
            stream = self._chance.random() < 0.8
            await self.turn(f"{verb} {item} please", f"{verb} {other}", f"pay {other}", stream=stream)
            number += 1
            if verb in ("order", "pay"):
                self.meant.append(f"{verb} {item}")
            if verb == "reserve":
                yes = self._chance.random() < 0.5
                words = ("yes indeed", "no thanks") if yes else ("no thanks", "yes indeed")
                await self.turn(words[0], f"{words[1]} I", f"order {other}", stream=stream)
                number += 1
                self.meant += [f"reserve {item}"] if yes else []


async def test_nothing_is_done_for_a_guess_and_everything_once_that_was_meant(gemini: Gemini, tmp_path: Path) -> None:
    gemini.answer = model
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "acts.py").write_text(TOOLS)
    settings = platform_settings(
        gemini, tmp_path, tools_dir=tmp_path / "tools", action_hold_seconds=HOLD, first_token_seconds=30
    )
    async with (
        backend(**settings) as server,
        AsyncOpenAI(api_key=COMPLETIONS_KEY, base_url=f"{server.url}/v1", max_retries=0) as openai,
    ):
        callers = [Speculator(openai, f"c{number}", random.Random(number)) for number in range(CALLERS)]
        await asyncio.gather(*(caller.converse(TURNS // CALLERS) for caller in callers))
    file = tmp_path / "tools" / "done.txt"
    done = Counter(file.read_text().splitlines() if file.exists() else [])
    assert done == Counter(what for caller in callers for what in caller.meant)
    assert done
