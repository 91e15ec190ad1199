"""The database: checkpoints, the journal of turns and tool calls, leases of workers, retention, deletion.

May import: turns, and the small modules of `agent`. Open first: journal.py, then entries.py; a new database is a module
beside sqlite.py and postgres.py. postgres.py needs the extra `postgres` and is imported by open.py alone.
"""

from __future__ import annotations

from agent.storage.database import Database, DatabaseError, Row
from agent.storage.entries import (
    NEWEST_NOTES,
    TWINS,
    Admission,
    CrashedTurn,
    InterruptedTurn,
    LastTurn,
    PendingContext,
    ToolCallRecord,
    as_json,
    sent_of,
)
from agent.storage.forgetting import conversations_of, erase, erase_turn, is_known
from agent.storage.journal import Journal
from agent.storage.open import Storage, is_shared, open_storage, open_temporary_storage
from agent.storage.pending import is_at_work
from agent.storage.results import (
    GIVEN_UP,
    NOT_STARTED,
    SAME_CALL,
    STILL_RUNNING,
    STOPPED,
    UNKNOWN,
    result_of,
    was_stopped,
)
from agent.storage.retention import counted, retention
from agent.storage.workers import TURN, ConversationDeleted, SingleWorker, TurnTakenOver, open_workers

__all__ = [
    "GIVEN_UP",
    "NEWEST_NOTES",
    "NOT_STARTED",
    "SAME_CALL",
    "STILL_RUNNING",
    "STOPPED",
    "TURN",
    "TWINS",
    "UNKNOWN",
    "Admission",
    "ConversationDeleted",
    "CrashedTurn",
    "Database",
    "DatabaseError",
    "InterruptedTurn",
    "Journal",
    "LastTurn",
    "PendingContext",
    "Row",
    "SingleWorker",
    "Storage",
    "ToolCallRecord",
    "TurnTakenOver",
    "as_json",
    "conversations_of",
    "counted",
    "erase",
    "erase_turn",
    "is_at_work",
    "is_known",
    "is_shared",
    "open_storage",
    "open_temporary_storage",
    "open_workers",
    "result_of",
    "retention",
    "sent_of",
    "was_stopped",
]
