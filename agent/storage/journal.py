"""What happened, per turn: what was asked, what was sent and when, which tools ran and how they ended.

Three tables, beside the checkpoints in the same database. Times are Unix seconds, JSON is UTF-8 text.

`turns`, a row per (conversation, turn, kind): written when a turn is admitted, completed when it ends.
    number    its place in the conversation: the newest wins. Clocks differ between workers, numbers do not
    worker    who runs it, of several on one database (agent/storage/workers.py); "" of one
    asked     JSON: {text, caller, metadata, heard: {text, turn_id} | null}
    state     running | ended. A running row without a live owner is what a crash leaves; the next turn ends it.
    outcome   answered | interrupted | failed | crashed
    sent      JSON: [[ms, "say", text, message id | null] | [ms, "show", data], …], ms since the turn began.
              After an interruption it ends where the connection did. NULL when a crash has left it unknown.
    trace     JSON: {models: [what the model was asked and what came: turns/trace.py], hung_up: [events, ms] | null,
              summary: {text, until}, if the turn took one in, late: [calls of earlier turns it was told of]}

`tool_calls`, a row per (conversation, call): written *before* the tool starts, completed when it is over.
    call      the message that made it, "/", and the id the model's client gave it
    turn, worker, name, arguments (JSON)
    message   JSON: the assistant's message that made the call, with its signatures: after a crash the
              checkpoint does not have it yet.
    answers   the id of the call in `message` that gets the result: its own, or that of the `confirm` call by
              which a pinned one was run
    state     started | finished | failed | unknown (the process died while it ran)
    result    what the model is told
    told      whether the conversation's memory holds the result: 1 since its own turn, 2 since a later one; 0 for
              one that came late, until then
    did       JSON: [[ms, "say" | "show", value], …], what the tool said and showed, ms since it started
    ms        how long it ran
    said      JSON: lines of a `protect` tool that nobody could hear any more

`notes`, what else the model shall know next time: {kind: data, body: JSON}, of which it is told the newest 20, and
the newest 200 are kept; and what the platform says of a session, {kind: ended | updated, body: JSON}: its transcript,
figures, recording.

`summaries`, a row per conversation at most: one that was made since the last turn (agent/summaries.py).

A turn costs two small writes, a tool call two more; nothing is written per token.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from agent.storage.database import Row
from agent.storage.entries import (
    NEWEST_NOTES,
    Admission,
    CrashedTurn,
    InterruptedTurn,
    PageData,
    PendingContext,
    ToolCallRecord,
    as_json,
    call_of,
    request_of,
    row_of,
    sent_of,
)
from agent.storage.open import Storage
from agent.storage.workers import MINE, RELEASE, THERE, ConversationDeleted, SingleWorker, TurnTakenOver, leaving
from agent.turns import Say, SentEvent, Summary, Turn, TurnRequest

Key = tuple[str, str, str]  # a turn's: conversation, turn, kind

_KEPT_NOTES = 200
_FORGET_NOTES = """DELETE FROM notes WHERE conversation = ? AND kind = 'data' AND at <
    (SELECT at FROM notes WHERE conversation = ? AND kind = 'data' ORDER BY at DESC LIMIT 1 OFFSET ?)"""
_KEY = "conversation = ? AND turn = ? AND kind = ?"
_ADMIT = (
    "INSERT INTO turns (conversation, turn, kind, asked, state, started, worker, number)"
    " VALUES (?, ?, ?, ?, 'running', ?, ?,"
    " (SELECT coalesce(max(number), 0) + 1 FROM turns WHERE conversation = ?)) ON CONFLICT DO NOTHING RETURNING number"
)
_ADMITTED = (
    "SELECT state, worker, sent, number, EXISTS (SELECT 1 FROM turns WHERE conversation = this.conversation"
    f" AND number > this.number) FROM turns AS this WHERE {_KEY}"
)
_CALLS = "SELECT call, answers, turn, name, message, state, result, said, worker FROM tool_calls WHERE conversation = ?"
_ONE = f"{_CALLS} AND call = ?"
# What a turn must know when it begins. A newer one that runs may have come just now: it has not crashed.
_MINE_RUNNING = (
    "FROM turns WHERE conversation = ? AND state = 'running' AND worker = ?"
    f" AND number <= (SELECT number FROM turns WHERE {_KEY})"
)
_RUNNING = f"SELECT turn, kind, asked, sent {_MINE_RUNNING} ORDER BY number"
_OF_RUNNING = f"{_CALLS} AND turn IN (SELECT turn {_MINE_RUNNING}) ORDER BY started"
_UNTOLD = f"{_CALLS} AND told = 0 ORDER BY started"
_UNSEEN = (
    "SELECT id, body, at FROM notes WHERE conversation = ? AND seen = 0 AND kind = 'data' ORDER BY at DESC LIMIT ?"
)
_BEFORE = (
    "SELECT turn FROM turns WHERE conversation = ? AND number <"
    f" (SELECT number FROM turns WHERE {_KEY}) ORDER BY number DESC LIMIT 1"
)
_CUT_BEFORE = (
    f"SELECT turn, sent FROM turns WHERE conversation = ? AND turn = ({_BEFORE})"
    " AND sent IS NOT NULL AND coalesce(outcome, '') <> 'answered'"
)
_SUMMARY = "SELECT text, until FROM summaries WHERE conversation = ?"
_PENDING = f"""SELECT coalesce((SELECT coalesce(outcome, '') <> 'answered' FROM turns
        WHERE conversation = this.conversation AND number < this.number ORDER BY number DESC LIMIT 1), false)
    OR EXISTS (SELECT 1 FROM turns WHERE conversation = this.conversation AND number < this.number
        AND state = 'running')
    OR EXISTS (SELECT 1 FROM tool_calls WHERE conversation = this.conversation AND told = 0)
    OR EXISTS (SELECT 1 FROM notes WHERE conversation = this.conversation AND seen = 0 AND kind = 'data')
    OR EXISTS (SELECT 1 FROM summaries WHERE conversation = this.conversation)
    FROM turns AS this WHERE {_KEY}"""


class Journal:
    def __init__(self, storage: Storage, workers: SingleWorker) -> None:
        self._impatient = storage.database
        self._database = storage.journal
        self._workers = workers

    async def ping(self) -> None:
        await self._impatient.fetch("SELECT 1 FROM turns LIMIT 1")

    # Turns.

    async def admit(self, request: TurnRequest) -> Admission:
        """Enter a turn, if it is new, and look in the same visit whether there is anything that it must know. One
        that crashed is run again, unless the conversation has gone on since."""
        entry = {"text": request.text, "caller": request.caller, "metadata": request.metadata}
        entry["heard"] = asdict(request.heard) if request.heard else None
        row = *request.key, as_json(entry), time.time(), self._workers.name, request.conversation_id
        while True:
            new, found = await self._impatient.fetch_each((_ADMIT, *row), (_PENDING, *request.key))
            if new:
                pending = not found or found[0][0]  # nothing is found when it has been forgotten at once
                return Admission(number=new[0][0], nothing_pending=not (pending or request.heard))
            if known := await self._impatient.fetch(_ADMITTED, *request.key):
                return await self._again(request, *known[0])
            # Another turn of the conversation was given that number at this moment.

    async def _again(
        self, request: TurnRequest, state: str, worker: str, sent: str | None, number: int, gone_on: bool
    ) -> Admission:
        """A turn that has been entered before: over, at work on another worker, or crashed."""
        if state == "running" and worker in await self._living(worker):
            return Admission(elsewhere=True)
        if state == "ended" or gone_on:
            return Admission(sent=sent_of(sent))
        taken = await self._database.execute(
            f"UPDATE turns SET worker = ? WHERE {_KEY} AND worker = ? AND state = 'running'",
            self._workers.name, *request.key, worker,
        )  # fmt: skip
        return Admission(number=number) if taken else Admission(elsewhere=True)

    async def end(
        self, request: TurnRequest, sent: Sequence[SentEvent], outcome: str, trace: dict[str, Any] | None = None
    ) -> int:
        """Complete a turn. 0 when it is not in the journal any more: the conversation has been forgotten."""
        return await self._database.execute(
            "UPDATE turns SET state = 'ended', outcome = ?, sent = ?, trace = ?, ended = ?"
            f" WHERE {_KEY} AND worker = ?",
            outcome, as_json([row_of(s) for s in sent]), as_json(trace), time.time(), *request.key, self._workers.name,
        )  # fmt: skip

    async def leave(self, turn: Turn) -> None:
        """A turn was broken off: keep what was sent, for the turn that recovers it, on whichever worker."""
        await self._database.execute(RELEASE, *leaving(turn, self._workers.name))

    async def pending_context(
        self, request: TurnRequest, live: Collection[Key], at_work: Collection[str]
    ) -> PendingContext:
        """What `request`'s turn must know: turns that crashed (itself, if it ran before), late results, notes, what was
        sent in turns that were interrupted, and a summary. `live`: the keys of turns of the conversation that are
        running now, `at_work`: its calls that are."""
        conversation = request.conversation_id
        mine = conversation, self._workers.name, *request.key
        running, of_running, untold, unseen, cut_before, summary = await self._database.fetch_each(
            (_RUNNING, *mine),
            (_OF_RUNNING, conversation, *mine),
            (_UNTOLD, conversation),
            (_UNSEEN, conversation, NEWEST_NOTES),
            (_CUT_BEFORE, conversation, conversation, *request.key),
            (_SUMMARY, conversation),
        )
        crashed = list(_crashed(request, running, [call_of(*row) for row in of_running], live))
        late = [call_of(*row) for row in untold if await self._is_over(row, at_work)]
        reports = [report for report in [*(turn.request for turn in crashed), request] if report.heard]
        spoken = [InterruptedTurn(turn, sent_of(sent), None) for turn, sent in cut_before]
        return PendingContext(
            crashed,
            late,
            [PageData(*row) for row in reversed(unseen)],
            await self._spoken(request, reports) if reports else spoken,
            Summary(*summary[0]) if summary else None,
        )

    async def _is_over(self, row: Row, at_work: Collection[str]) -> bool:
        """Whether a call has ended, or has nobody any more who works at it."""
        call, *_, state, _, _, worker = row
        return state != "started" or not (call in at_work or worker in await self._living(worker))

    async def settle(self, request: TurnRequest, pending_context: PendingContext) -> None:
        """The memory now holds what `pending_context` told: mark it so. A call that has ended since is reported in the
        next turn."""
        conversation = request.conversation_id
        for crashed in pending_context.crashed:
            if crashed.request.key != request.key:
                await self._database.execute(
                    "UPDATE turns SET state = 'ended', outcome = 'crashed', ended = ?"
                    f" WHERE {_KEY}",
                    time.time(), *crashed.request.key,
                )  # fmt: skip
        for call in [*pending_context.late, *(call for crashed in pending_context.crashed for call in crashed.calls)]:
            await self._database.execute(
                "UPDATE tool_calls SET told = CASE state WHEN ? THEN 2 ELSE 0 END,"
                " state = CASE state WHEN 'started' THEN 'unknown' ELSE state END"
                " WHERE conversation = ? AND call = ?",
                call.state, conversation, call.call,
            )  # fmt: skip
        if pending_context.notes:
            ids = [note.id for note in pending_context.notes]
            await self._database.execute(
                "UPDATE notes SET seen = 1 WHERE conversation = ? AND seen = 0 AND (at < ? OR id IN"
                f" ({', '.join('?' * len(ids))}))",
                conversation, pending_context.notes[0].at, *ids,
            )  # fmt: skip

    async def _spoken(self, request: TurnRequest, reports: Sequence[TurnRequest]) -> list[InterruptedTurn]:
        """The turns whose interruption was reported by one of `reports`, and the last one before `request`, if it
        was interrupted without a report."""
        heard: dict[str | None, str] = {}
        for report in reports:
            if report.heard:
                heard[report.heard.turn_id or await self._before(report)] = report.heard.text
        spoken = []
        for turn in dict.fromkeys([*heard, await self._before(request)]):
            rows = await self._database.fetch(
                "SELECT sent, outcome FROM turns WHERE conversation = ? AND turn = ? AND sent IS NOT NULL",
                request.conversation_id, turn,
            )  # fmt: skip
            for sent, outcome in rows:
                if turn in heard or outcome != "answered":
                    spoken.append(InterruptedTurn(str(turn), sent_of(sent), heard.get(turn)))
        return spoken

    async def _before(self, request: TurnRequest) -> str | None:
        """The turn before."""
        rows = await self._database.fetch(_BEFORE, request.conversation_id, *request.key)
        return str(rows[0][0]) if rows else None

    async def _living(self, worker: str) -> set[str]:
        """The other workers that live, if `worker` is another one."""
        return set() if worker == self._workers.name else await self._workers.living()

    # Tool calls.

    async def start_call(
        self,
        request: TurnRequest,
        call: str,
        answers: str,
        name: str,
        arguments: dict[str, Any],
        message: dict[str, Any],
    ) -> ToolCallRecord | None:
        """Enter a call before it is run. When it was entered before, that entry: it must not be run again.
        TurnTakenOver when the turn is not this worker's any more, ConversationDeleted when there is no such turn."""
        new = await self._database.fetch(
            f"WITH mine AS ({MINE}{self._workers.held})"
            " INSERT INTO tool_calls (conversation, call, answers, turn, name, arguments, message, state, told,"
            " started, worker) SELECT ?, ?, ?, ?, ?, ?, ?, 'started', 0, ?, ? FROM mine WHERE true"
            " ON CONFLICT DO NOTHING RETURNING 1",
            *request.key, self._workers.name, request.conversation_id, call, answers, request.turn_id, name,
            as_json(arguments), as_json(message), time.time(), self._workers.name,
        )  # fmt: skip
        if new:
            return None
        known = await self._database.fetch(_ONE, request.conversation_id, call)
        if not known:
            raise TurnTakenOver if await self._database.fetch(THERE, *request.key) else ConversationDeleted
        return call_of(*known[0])

    async def end_call(
        self, request: TurnRequest, call: str, *, state: str, result: str, reported: bool,
        progress: Sequence[Any], ms: float, unspoken: Sequence[str],
    ) -> None:  # fmt: skip
        await self._database.execute(
            "UPDATE tool_calls SET state = ?, result = ?, did = ?, ms = ?, said = ?, ended = ?,"
            f" told = CASE WHEN ? = 1 AND EXISTS ({MINE}) THEN 1 ELSE 0 END WHERE conversation = ? AND call = ?",
            state, result, as_json(progress), ms, as_json(unspoken), time.time(),
            int(reported), *request.key, self._workers.name, request.conversation_id, call,
        )  # fmt: skip

    # Notes.

    async def note(self, conversation: str, id_: str, kind: str, body: Any) -> None:
        """Keep something for later. The same id again changes nothing."""
        await self._database.execute(
            "INSERT INTO notes (conversation, id, kind, body, seen, at) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            conversation, id_, kind, as_json(body), int(kind != "data"), time.time(),
        )  # fmt: skip
        if kind == "data":
            await self._database.execute(_FORGET_NOTES, conversation, conversation, _KEPT_NOTES)


def _crashed(
    request: TurnRequest, running: Sequence[Row], calls: Sequence[ToolCallRecord], live: Collection[Key]
) -> Iterator[CrashedTurn]:
    for *row, sent in running:
        before = request_of(request.conversation_id, *row)
        made = [call for call in calls if call.turn == before.turn_id]
        if before.key not in live or (before.key == request.key and made):
            yield CrashedTurn(before, made, sent_of(sent) or _reported(request, before, made))


def _reported(request: TurnRequest, crashed: TurnRequest, calls: Sequence[ToolCallRecord]) -> list[SentEvent]:
    """What the platform says was heard of a turn that could not enter itself what it had sent."""
    if request.heard is None or request.heard.turn_id != crashed.turn_id or not request.heard.text:
        return []
    steps = len({call.message["data"]["id"] for call in calls})
    return [SentEvent(0, Say(request.heard.text, of=f"{crashed.turn_id}/{steps}"))]
