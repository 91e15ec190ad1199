"""One turn and its place among others: what was requested, what was sent, how it is interrupted.

May import: nothing of the other rooms. Open first: turn.py.
"""

from __future__ import annotations

from agent.turns.limit import ConcurrencyLimit, TooBusy
from agent.turns.messages import MARKS, cut_message, interrupted_message, was_interrupted
from agent.turns.open_turns import OpenTurns
from agent.turns.order import PATIENCE, TurnQueue
from agent.turns.text_chunk import Chunk, ChunkTemplate, TextChunk, TokenUsage, as_message, merge, merge_text
from agent.turns.trace import ModelCall, chunk_from, compact
from agent.turns.turn import Event, HeardReport, Kind, Say, SentEvent, Show, Summary, ToolCallStatus, Turn, TurnRequest

__all__ = [
    "MARKS",
    "PATIENCE",
    "Chunk",
    "ChunkTemplate",
    "ConcurrencyLimit",
    "Event",
    "HeardReport",
    "Kind",
    "ModelCall",
    "OpenTurns",
    "Say",
    "SentEvent",
    "Show",
    "Summary",
    "TextChunk",
    "TokenUsage",
    "TooBusy",
    "ToolCallStatus",
    "Turn",
    "TurnQueue",
    "TurnRequest",
    "as_message",
    "chunk_from",
    "compact",
    "cut_message",
    "interrupted_message",
    "merge",
    "merge_text",
    "was_interrupted",
]
