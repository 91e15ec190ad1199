"""An MCP server for tests: `python mcp_server.py stdio`, or `… http PORT`, or `… sse PORT`.

What it does goes into the file $RECORD."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Literal

from mcp.server.fastmcp import FastMCP, Image
from mcp.types import ToolAnnotations

server = FastMCP("flights", port=int((sys.argv[2:] or ["0"])[0]), log_level="CRITICAL")


def record(what: str) -> None:
    with Path(os.environ["RECORD"]).open("a") as file:
        file.write(f"{what}\n")


@server.tool(annotations=ToolAnnotations(readOnlyHint=True))
async def search(city: str, seconds: float = 0.0, cabin: Literal[1, 2] = 1) -> str:
    """Flights to a city."""
    record("search began")
    try:
        await asyncio.sleep(seconds)
    except BaseException:
        record("search cancelled")
        raise
    record("search done")
    return f"BA 7 to {city}. Process {os.getpid()}. Key {os.environ.get('FLIGHTS_KEY')}."


@server.tool(name="book-seat")
async def book(flight: str, seats: int, seconds: float = 0.0, window: bool = False) -> str:
    """Book a flight."""
    record(f"book {flight} {seats}")
    await asyncio.sleep(seconds)
    return f"Booked {seats} seats on {flight}."


@server.tool(annotations=ToolAnnotations(destructiveHint=True))
async def cancel_everything() -> str:
    """Cancel every flight there is."""
    record("cancelled everything")
    return "All cancelled."


@server.tool(structured_output=False)
async def boarding_pass() -> list[str | Image]:
    """The boarding pass."""
    return ["Gate 4.", Image(data=b"png", format="png")]


@server.tool()
async def refund() -> str:
    """Money back."""
    raise ValueError("This fare cannot be refunded.")


def brood(seconds: float) -> str:
    """Answers to nothing else meanwhile."""
    time.sleep(seconds)
    return f"Hatched by {os.getpid()}."


if "TWIN" in os.environ:
    server.tool(name="book.seat")(refund)

if "BROODS" in os.environ:
    server.tool()(brood)

if __name__ == "__main__":
    server.run("streamable-http" if sys.argv[1] == "http" else "sse" if sys.argv[1] == "sse" else "stdio")
