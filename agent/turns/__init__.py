"""One turn and its place among others: what was requested, what was sent, how it is interrupted, who observes it.

May import: nothing of the other rooms. Open first: turn.py.
"""

from __future__ import annotations

from agent.turns.events import CallAction, CallControl, Event, Say, SentEvent, Show
from agent.turns.legacy import marker_of_text
from agent.turns.limit import ConcurrencyLimit, TooBusy
from agent.turns.messages import (
    OUR_METADATA,
    Marker,
    apology_message,
    caller_message,
    cut_message,
    interrupted_message,
    is_told_in_words,
    marker_of,
    own_and_apology,
    told_in_words,
    tool_message,
    unsaid_message,
    was_interrupted,
)
from agent.turns.notes import system_note, without_note_marks, words_behind_notes
from agent.turns.observer import Observer, Observers
from agent.turns.open_turns import OpenTurns
from agent.turns.order import PATIENCE, TurnQueue
from agent.turns.phone import e164
from agent.turns.request import HeardKind, HeardReport, Key, Kind, Speaker, Summary, TurnRequest
from agent.turns.text_chunk import (
    Chunk,
    ChunkTemplate,
    TextChunk,
    TokenUsage,
    as_message,
    merge,
    merge_text,
    without_matches,
    without_text,
)
from agent.turns.trace import ModelCall, chunk_from, compact
from agent.turns.turn import ToolCallStatus, Turn

__all__ = [
    "OUR_METADATA",
    "PATIENCE",
    "CallAction",
    "CallControl",
    "Chunk",
    "ChunkTemplate",
    "ConcurrencyLimit",
    "Event",
    "HeardKind",
    "HeardReport",
    "Key",
    "Kind",
    "Marker",
    "ModelCall",
    "Observer",
    "Observers",
    "OpenTurns",
    "Say",
    "SentEvent",
    "Show",
    "Speaker",
    "Summary",
    "TextChunk",
    "TokenUsage",
    "TooBusy",
    "ToolCallStatus",
    "Turn",
    "TurnQueue",
    "TurnRequest",
    "apology_message",
    "as_message",
    "caller_message",
    "chunk_from",
    "compact",
    "cut_message",
    "e164",
    "interrupted_message",
    "is_told_in_words",
    "marker_of",
    "marker_of_text",
    "merge",
    "merge_text",
    "own_and_apology",
    "system_note",
    "told_in_words",
    "tool_message",
    "unsaid_message",
    "was_interrupted",
    "without_matches",
    "without_note_marks",
    "without_text",
    "words_behind_notes",
]
