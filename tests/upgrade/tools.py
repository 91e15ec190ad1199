"""The tools of the conversations in this folder. They write down what they do, a line per deed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agent import say, tool_context, voice_tool

RECORD = Path(__file__).with_name("record")


async def work(tool: str, seconds: float) -> None:
    for deed in ("began", "done"):
        with RECORD.open("a") as file:
            file.write(f"{tool_context().conversation_id} {tool} {deed}\n")
        if deed == "began":
            await asyncio.sleep(seconds)


@voice_tool(say="Looking at {city}.", on_barge_in="cancel")
async def fetch(city: str, seconds: float = 0.02) -> str:
    """Only reads."""
    await work("fetch", seconds)
    return f"Sunny in {city}."


@voice_tool
async def order(thing: str, seconds: float = 0.02) -> str:
    """An action."""
    await work("order", seconds)
    return f"Ordered {thing}."


@voice_tool(confirm="Reserve the {thing}?", on_barge_in="protect")
async def reserve(thing: str, seconds: float = 0.02) -> str:
    """An action that is confirmed first, and speaks."""
    say("Reserving it.")
    await work("reserve", seconds)
    say("It is reserved.")
    return f"Reserved the {thing}."
