"""Deleting conversations: on request, by age, and what a turn wrote while its conversation was being forgotten.

The order makes it safe beside running turns and other workers: the rows of `turns` go after the rest, so that a
deletion that was broken off is found again; then the rest once more. A turn that runs meanwhile ends as any other;
it then finds its row gone, and deletes what it has written since.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from agent.storage.entries import as_json
from agent.storage.open import Storage
from agent.storage.workers import THERE
from agent.turns import TurnRequest, e164

_REST = {
    "tool_calls": "DELETE FROM tool_calls WHERE conversation = ? AND started < ?",
    "notes": "DELETE FROM notes WHERE conversation = ? AND at < ?",
    "calls": "DELETE FROM calls WHERE conversation = ? AND started < ?",
    "summaries": "DELETE FROM summaries WHERE conversation = ? AND at < ?",
}
_TURNS = {"turns": "DELETE FROM turns WHERE conversation = ? AND started < ?"}

_KNOWN = (
    "SELECT conversation FROM turns WHERE conversation = ? UNION SELECT conversation FROM notes WHERE conversation = ?"
    " UNION SELECT conversation FROM tool_calls WHERE conversation = ?"
)
_ABOUT = (
    "SELECT conversation, asked FROM turns WHERE asked LIKE ? ESCAPE '!'"
    " UNION ALL SELECT conversation, body FROM notes WHERE body LIKE ? ESCAPE '!'"
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


async def erase(storage: Storage, conversation: str, before: float = math.inf) -> Counter[str]:
    """Delete a conversation: its checkpoints, and its rows from before that time. The number of rows by table."""
    erased = Counter(checkpoints=int(bool(await storage.state(conversation))))
    for statements in (_REST, _TURNS, _REST):
        for table, statement in statements.items():
            erased[table] += await storage.database.execute(statement, conversation, before)
        await storage.delete_state(conversation)
    return erased


async def erase_turn(storage: Storage, request: TurnRequest) -> None:
    """Delete what a turn has written since its conversation was forgotten, if it was. A newer turn's rows stay."""
    if await storage.database.fetch(THERE, *request.key):
        return
    await storage.database.execute(
        "DELETE FROM tool_calls WHERE conversation = ? AND turn = ?", request.conversation_id, request.turn_id
    )
    if not storage.shared:  # there a turn whose row is gone writes none, and these are a newer turn's
        await storage.delete_state(request.conversation_id)


async def expired(storage: Storage, before: float) -> list[str]:
    """Some conversations in which nothing has happened since that time; none when there are none."""
    for statement in _EXPIRED:
        if rows := await storage.database.fetch(statement, before, before, before, _ROWS):
            return list(dict.fromkeys(row[0] for row in rows))
    return []


async def is_known(storage: Storage, conversation: str) -> bool:
    rows = await storage.database.fetch(_KNOWN, conversation, conversation, conversation)
    return bool(rows or await storage.state(conversation))


async def conversations_of(storage: Storage, caller: str) -> Sequence[str]:
    """The conversations of a phone number in E.164 form, however the platform wrote it, or of what else it has sent in
    a number's place."""
    like = _like(caller)
    rows = await storage.database.fetch(_ABOUT, f'%"caller":{like}%', f'%"from_phone_number":{like}%')
    return sorted({row[0] for row in rows if caller in _callers(json.loads(row[1]))})


def _like(caller: str) -> str:
    """A pattern for what may be meant by it, in JSON: a number's digits with anything between, else the same text."""
    if e164(caller) == caller:
        return f'"%{"%".join(caller.removeprefix("+"))}'
    return re.sub("[!%_]", r"!\g<0>", as_json(caller))


def _callers(entry: object) -> Iterator[str]:
    """As they were sent, and as numbers."""
    sent = [entry.get("caller"), entry.get("from_phone_number")] if isinstance(entry, dict) else []
    for caller in sent:
        if isinstance(caller, str):
            yield from (caller, e164(caller) or caller)
