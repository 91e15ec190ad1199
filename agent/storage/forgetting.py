"""Deleting conversations: on request, by age, and what a turn wrote while its conversation was being forgotten.

The order makes it safe beside running turns and other workers: the rows of `turns` go after the rest, so that a
deletion that was broken off is found again; then the rest once more. A turn that runs meanwhile ends as any other;
it then finds its row gone, and deletes what it has written since.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence

from langchain_core.runnables import RunnableConfig

from agent.storage.open import Memory
from agent.storage.workers import THERE
from agent.turns.turn import Asked

_REST = {
    "tool_calls": "DELETE FROM tool_calls WHERE conversation = ? AND started < ?",
    "notes": "DELETE FROM notes WHERE conversation = ? AND at < ?",
    "summaries": "DELETE FROM summaries WHERE conversation = ? AND at < ?",
}
_TURNS = {"turns": "DELETE FROM turns WHERE conversation = ? AND started < ?"}

_KNOWN = (
    "SELECT conversation FROM turns WHERE conversation = ? UNION SELECT conversation FROM notes WHERE conversation = ?"
    " UNION SELECT conversation FROM tool_calls WHERE conversation = ?"
)
_ABOUT = (
    "SELECT conversation, asked FROM turns WHERE asked LIKE ?"
    " UNION ALL SELECT conversation, body FROM notes WHERE body LIKE ?"
)

_EXPIRED = (
    "SELECT conversation FROM turns AS old WHERE started < ?"
    " AND NOT EXISTS (SELECT 1 FROM turns WHERE conversation = old.conversation AND started >= ?)"
    " AND NOT EXISTS (SELECT 1 FROM notes WHERE conversation = old.conversation AND at >= ?)"
    " ORDER BY started LIMIT ?",
    "SELECT conversation FROM notes AS old WHERE at < ?"
    " AND NOT EXISTS (SELECT 1 FROM turns WHERE conversation = old.conversation AND started >= ?)"
    " AND NOT EXISTS (SELECT 1 FROM notes WHERE conversation = old.conversation AND at >= ?)"
    " ORDER BY at LIMIT ?",
)
_ROWS = 100  # that are looked at for conversations to expire: a statement is short


async def erase(memory: Memory, conversation: str, before: float = math.inf) -> Counter[str]:
    """Delete a conversation: its checkpoints, and its rows from before that time. The number of rows by table."""
    kept = await memory.saver.aget_tuple(_thread(conversation))
    erased = Counter(checkpoints=int(kept is not None))
    for statements in (_REST, _TURNS, _REST):
        for table, statement in statements.items():
            erased[table] += await memory.database.execute(statement, conversation, before)
        await memory.delete_state(conversation)
    return erased


async def erase_turn(memory: Memory, asked: Asked) -> None:
    """Delete what a turn has written since its conversation was forgotten, if it was. A newer turn's rows stay."""
    if await memory.database.fetch(THERE, *asked.key):
        return
    await memory.database.execute(
        "DELETE FROM tool_calls WHERE conversation = ? AND turn = ?", asked.conversation_id, asked.turn_id
    )
    if not memory.shared:  # there a turn whose row is gone writes none, and these are a newer turn's
        await memory.delete_state(asked.conversation_id)


async def expired(memory: Memory, before: float) -> list[str]:
    """Some conversations in which nothing has happened since that time; none when there are none."""
    for statement in _EXPIRED:
        if rows := await memory.database.fetch(statement, before, before, before, _ROWS):
            return list(dict.fromkeys(row[0] for row in rows))
    return []


async def is_known(memory: Memory, conversation: str) -> bool:
    rows = await memory.database.fetch(_KNOWN, conversation, conversation, conversation)
    return bool(rows) or await memory.saver.aget_tuple(_thread(conversation)) is not None


async def conversations_of(memory: Memory, caller: str) -> Sequence[str]:
    """The conversations of a phone number, which is compared as the platform sends it: +4930123456."""
    number = json.dumps(caller)
    rows = await memory.database.fetch(_ABOUT, f'%"caller":{number}%', f'%"from_phone_number":{number}%')
    return sorted({row[0] for row in rows if caller in _callers(json.loads(row[1]))})


def _callers(entry: object) -> Sequence[object]:
    return [entry.get("caller"), entry.get("from_phone_number")] if isinstance(entry, dict) else []


def _thread(conversation: str) -> RunnableConfig:
    return {"configurable": {"thread_id": conversation}}
