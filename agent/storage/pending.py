"""What a turn must know when it begins, because its conversation's memory does not, and marking it as reported."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from agent.storage.database import Database, Query, Row
from agent.storage.entries import (
    NEWEST_NOTES,
    CrashedTurn,
    InterruptedTurn,
    PageData,
    PendingContext,
    ToolCallRecord,
    call_of,
    request_of,
    sent_of,
)
from agent.storage.workers import KEY, SingleWorker
from agent.turns import HeardReport, Key, Say, SentEvent, Summary, Turn, TurnRequest

CALLS = "SELECT call, answers, turn, name, message, state, result, said, worker FROM tool_calls WHERE conversation = ?"
# Not a newer turn that runs: it may have come just now, and has not crashed.
_MINE_RUNNING = (
    "FROM turns WHERE conversation = ? AND state = 'running' AND worker = ?"
    f" AND number <= (SELECT number FROM turns WHERE {KEY})"
)
_RUNNING = f"SELECT turn, kind, asked, sent {_MINE_RUNNING} ORDER BY number"
_STARTED = f"{CALLS} AND turn = ? AND state = 'started'"
_OF_RUNNING = f"{CALLS} AND turn IN (SELECT turn {_MINE_RUNNING}) ORDER BY started"
_UNTOLD = f"{CALLS} AND told = 0 ORDER BY started"
_UNSEEN = (
    "SELECT id, body, at FROM notes WHERE conversation = ? AND seen = 0 AND kind = 'data' ORDER BY at DESC LIMIT ?"
)
_BEFORE = (
    "SELECT turn FROM turns WHERE conversation = ? AND number <"
    f" (SELECT number FROM turns WHERE {KEY}) ORDER BY number DESC LIMIT 1"
)
_SENT = "SELECT turn, sent, outcome FROM turns WHERE conversation = ? AND sent IS NOT NULL AND turn = "
_SENT_IN, _SENT_BEFORE = f"{_SENT}?", f"{_SENT}({_BEFORE})"
_WORKERS_OF_TURNS = "SELECT DISTINCT worker FROM turns WHERE conversation = ? AND state = 'running'"
_WORKERS_OF_CALLS = "SELECT DISTINCT worker FROM tool_calls WHERE conversation = ? AND state = 'started'"
_SUMMARY = "SELECT text, until FROM summaries WHERE conversation = ?"

_END_CRASHED = f"UPDATE turns SET state = 'ended', outcome = 'crashed', ended = ? WHERE {KEY}"
_TELL = (
    "UPDATE tool_calls SET told = CASE state WHEN ? THEN 2 ELSE 0 END,"
    " state = CASE state WHEN 'started' THEN 'unknown' ELSE state END WHERE conversation = ? AND call = ?"
)
_SEE = "UPDATE notes SET seen = 1 WHERE conversation = ? AND seen = 0 AND (at < ? OR id IN ({}))"
_TAKE_SUMMARY = "DELETE FROM summaries WHERE conversation = ? AND until = ?"


async def read_pending(
    database: Database, workers: SingleWorker, request: TurnRequest, live: Collection[Key], running: Collection[str]
) -> PendingContext:
    """What `request`'s turn must know: turns that crashed (itself, if it ran before), late results, notes, what was
    sent in turns that were interrupted, and a summary. live: the keys of turns of the conversation that are running
    now, running: its calls that are."""
    conversation = request.conversation_id
    mine = conversation, workers.name, *request.key
    turns, of_turns, untold, unseen, before, summary = await database.fetch_each(
        (_RUNNING, *mine),
        (_OF_RUNNING, conversation, *mine),
        (_UNTOLD, conversation),
        (_UNSEEN, conversation, NEWEST_NOTES),
        (_SENT_BEFORE, conversation, conversation, *request.key),
        (_SUMMARY, conversation),
    )
    calls = [await _call(row, running, workers) for row in of_turns]
    crashed = list(_crashed(request, turns, calls, live))
    late = [call_of(*row) for row in untold if await _is_over(row, running, workers)]
    heard = await _heard(database, [*(turn.request for turn in crashed), request], before)
    return PendingContext(
        crashed,
        late,
        [PageData(*row) for row in reversed(unseen)],
        await _spoken(database, conversation, heard, before),
        Summary(*summary[0]) if summary else None,
    )


def reported(turn: Turn, pending_context: PendingContext, now: float) -> Iterator[Query]:
    """The statements that mark what `turn` was told as known to the memory. A call that has ended since is reported in
    the next turn."""
    conversation, crashed = turn.request.conversation_id, pending_context.crashed
    for other in crashed:
        if other.request.key != turn.request.key:
            yield _END_CRASHED, now, *other.request.key
    for call in [*pending_context.late, *(call for other in crashed for call in other.calls)]:
        if call.state != "running":
            yield _TELL, call.state, conversation, call.call
    if notes := pending_context.notes:
        yield _SEE.format(", ".join("?" * len(notes))), conversation, notes[0].at, *(note.id for note in notes)
    if turn.summary:
        yield _TAKE_SUMMARY, conversation, turn.summary.until


def _crashed(
    request: TurnRequest, running: Sequence[Row], calls: Sequence[ToolCallRecord], live: Collection[Key]
) -> Iterator[CrashedTurn]:
    for *row, sent in running:
        before = request_of(request.conversation_id, *row)
        made = [call for call in calls if call.turn == before.turn_id]
        if before.key not in live or (before.key == request.key and made):
            yield CrashedTurn(before, made, sent_of(sent) or _heard_of(request, before, made))


def _heard_of(request: TurnRequest, crashed: TurnRequest, calls: Sequence[ToolCallRecord]) -> list[SentEvent]:
    """What the platform says was heard of a turn that could not enter itself what it had sent."""
    if request.heard is None or request.heard.turn_id != crashed.turn_id or not request.heard.text:
        return []
    steps = len({call.message["data"]["id"] for call in calls})
    return [SentEvent(0, Say(request.heard.text, of=f"{crashed.turn_id}/{steps}"))]


async def calls_at_work(
    database: Database, workers: SingleWorker, request: TurnRequest, running: Collection[str]
) -> bool:
    """Whether a tool call of an earlier run of this turn is at work, on any worker. running: as in `read_pending`."""
    rows = await database.fetch(_STARTED, request.conversation_id, request.turn_id)
    return not all([await _is_over(row, running, workers) for row in rows])


async def _call(row: Row, running: Collection[str], workers: SingleWorker) -> ToolCallRecord:
    call = call_of(*row)
    return call if await _is_over(row, running, workers) else replace(call, state="running")


async def _is_over(row: Row, running: Collection[str], workers: SingleWorker) -> bool:
    """Whether a call has ended, or has nobody any more who works at it."""
    call, *_, state, _, _, worker = row
    return state != "started" or not (call in running or await workers.may_live(worker))


async def is_at_work(
    database: Database, workers: SingleWorker, conversation: str, live: Collection[Key], running: Collection[str]
) -> bool:
    """Whether a turn or a tool call of the conversation runs, on any worker. live, running: those that do in this
    process, as in `read_pending`."""
    if live or running:
        return True
    turns, calls = await database.fetch_each((_WORKERS_OF_TURNS, conversation), (_WORKERS_OF_CALLS, conversation))
    return any([await workers.may_live(worker) for (worker,) in [*turns, *calls]])


async def _heard(
    database: Database, requests: Sequence[TurnRequest], before: Sequence[Row]
) -> dict[str | None, HeardReport]:
    """What the platform reported in `requests`, by turn. before: what was sent in the turn before the last of them."""
    heard: dict[str | None, HeardReport] = {}
    for request in requests:
        if request.heard:
            is_last, turn = request is requests[-1], request.heard.turn_id
            known = str(before[0][0]) if before and is_last else None
            heard[turn or known or await _before(database, request)] = request.heard
    return heard


async def _spoken(
    database: Database, conversation: str, heard: Mapping[str | None, HeardReport], before: Sequence[Row]
) -> list[InterruptedTurn]:
    """The turns whose interruption was reported, and the last one, if it was interrupted without a report."""
    known = {turn for turn, *_ in before}
    rows = [row for turn in heard if turn not in known for row in await database.fetch(_SENT_IN, conversation, turn)]
    return [
        _interrupted(turn, sent, heard.get(turn))
        for turn, sent, outcome in [*rows, *before]
        if turn in heard or outcome != "answered"
    ]


def _interrupted(turn: str, sent: str, heard: HeardReport | None) -> InterruptedTurn:
    events = sent_of(sent)
    return InterruptedTurn(turn, events, heard.text, heard.kind) if heard else InterruptedTurn(turn, events, None)


async def _before(database: Database, request: TurnRequest) -> str | None:
    """The turn before."""
    rows = await database.fetch(_BEFORE, request.conversation_id, *request.key)
    return str(rows[0][0]) if rows else None
