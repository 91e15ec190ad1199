"""The time line of a call, as HTML: who spoke when, what tools did meanwhile, where the caller interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from api.platforms.playback import SECONDS_PER_CHARACTER
from api.simulate.conversation import Conversation, Exchange

Bar = tuple[float, float, str, str]  # from, seconds, kind, words

_STEPS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600)  # seconds between two marks
_MARKS = 6


def time_line(conversation: Conversation) -> Iterator[str]:
    if not (seconds := conversation.seconds):
        return
    lanes = {"Caller": _caller, "Agent": _agent, "Tools": _tools}
    yield '<div class="line">'
    for name, bars in lanes.items():
        made = [bar for exchange in conversation.exchanges for bar in bars(exchange)]
        if made or name != "Tools":
            yield f"<span>{name}</span><div>{''.join(_html(*bar, seconds) for bar in made)}</div>"
    yield f'<span></span><div class="axis">{"".join(_marks(seconds))}</div>'
    yield "</div>"


def _caller(exchange: Exchange) -> Iterator[Bar]:
    spoken = len(exchange.said) * SECONDS_PER_CHARACTER
    if spoken:
        yield exchange.at - spoken, spoken, "caller", exchange.said


def _agent(exchange: Exchange) -> Iterator[Bar]:
    """What was heard."""
    until = exchange.cut if exchange.cut is not None else float("inf")
    for piece in exchange.playback().pieces:
        if piece.starts < until:
            yield exchange.at + piece.starts, min(piece.ends, until) - piece.starts, "agent", piece.text
    if exchange.cut is not None:
        yield exchange.at + exchange.cut, 0, "cut", "interrupted"


def _tools(exchange: Exchange) -> Iterator[Bar]:
    for tool in exchange.tools:
        yield exchange.at + tool.began - exchange.began, tool.seconds or 0, "tool", tool.name


def _html(at: float, seconds: float, kind: str, words: str, of: float) -> str:
    place = f"left:{100 * at / of:.2f}%" + (f";width:{100 * seconds / of:.2f}%" if seconds else "")
    return f'<i class="{kind}" style="{place}" title="{escape(words.strip())}"></i>'


def _marks(seconds: float) -> Iterator[str]:
    step = next((step for step in _STEPS if seconds / step <= _MARKS), _STEPS[-1])
    for at in range(0, int(seconds * 0.97) + 1, step):
        yield f'<span style="left:{100 * at / seconds:.2f}%">{at} s</span>'
