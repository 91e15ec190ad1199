"""A conversation as people read it."""

from __future__ import annotations

from collections.abc import Iterator

from agent.turns import ToolCallStatus
from api.simulate.conversation import Conversation, Exchange
from api.simulate.world import written


def transcript(conversation: Conversation) -> str:
    return "\n".join(line for exchange in conversation.exchanges for line in _of(exchange))


def tool_line(tool: ToolCallStatus) -> str:
    seconds = "" if tool.seconds is None else f", {tool.seconds:.1f} s"
    return f"{tool.name}({written(tool.arguments)}): {tool.ended}{seconds}"


def _of(exchange: Exchange) -> Iterator[str]:
    if exchange.said:
        yield _line(exchange.at, "caller", exchange.said)
    for tool in exchange.tools:
        yield _line(exchange.at, "tool", tool_line(tool))
    if exchange.words.strip():
        cut = f" … [not heard: {exchange.unheard}]" if exchange.unheard else ""
        yield _line(exchange.at + (exchange.first_words or 0), "agent", exchange.heard.strip() + cut)
    elif exchange.said:
        yield _line(exchange.at, "agent", "[nothing]")


def _line(at: float, who: str, what: str) -> str:
    return f"{at:6.1f} s  {who:<6}  {what}"
