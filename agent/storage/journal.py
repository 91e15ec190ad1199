"""What happened, per turn: what was asked, what was sent and when, which tools ran and how they ended.

Three tables, beside the checkpoints in the same database. Times are Unix seconds, JSON is UTF-8 text.

`turns`, a row per (conversation, turn, kind): written when a turn is admitted, completed when it ends.
    number    its place in the conversation: the newest wins. Clocks differ between workers, numbers do not
    worker    who runs it, of several on one database (agent/storage/workers.py); "" of one
    asked     JSON: {text, caller, metadata, heard: {text, turn_id, kind} | null}, and if any: abilities: [action],
              place, language, line, instructions, platform, frames: [[ms, frame]]
    state     running | ended. A running row without a live owner is what a crash leaves; the next turn ends it.
    outcome   answered | interrupted | failed | crashed
    sent      JSON: [[ms, "say", text, message id | null] | [ms, "show", data] | [ms, "control", {action, value,
              reason}], …], ms since the turn began.
              After an interruption it ends where the connection did. NULL when a crash has left it unknown.
    heard     JSON: {text, turn_id, kind}, what a socket has reported of its interruption
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
    did       JSON: [[ms, "say" | "show" | "control", value], …], what the tool said, showed and wanted to become of
              the call, ms since it started
    ms        how long it ran
    said      JSON: lines of a `protect` tool that nobody could hear any more

`notes`, what else the model shall know next time: {kind: data, body: JSON}, of which it is told the newest 20, and
the newest 200 are kept; and what the platform says of a session, {kind: ended | updated, body: JSON}: its transcript,
figures, recording; {kind: frames, body: [[ms before it, frame]]}, what it has sent after the last turn.

`summaries`, a row per conversation at most: one that was made since the last turn (agent/summaries.py).

A turn costs two small writes, a tool call two more; nothing is written per token.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from agent.storage.entries import (
    Admission,
    LastTurn,
    PendingContext,
    ToolCallRecord,
    as_json,
    call_of,
    row_of,
    sent_of,
)
from agent.storage.open import Storage
from agent.storage.pending import CALLS, calls_at_work, read_pending, reported
from agent.storage.workers import (
    KEY,
    MINE,
    RELEASE,
    THERE,
    ConversationDeleted,
    SingleWorker,
    TurnTakenOver,
    leaving,
)
from agent.turns import HeardReport, Key, Turn, TurnRequest

_KEPT_NOTES = 200
_FORGET_NOTES = """DELETE FROM notes WHERE conversation = ? AND kind = 'data' AND at <
    (SELECT at FROM notes WHERE conversation = ? AND kind = 'data' ORDER BY at DESC LIMIT 1 OFFSET ?)"""
_ADMIT = (
    "INSERT INTO turns (conversation, turn, kind, asked, state, started, worker, number)"
    " VALUES (?, ?, ?, ?, 'running', ?, ?,"
    " (SELECT coalesce(max(number), 0) + 1 FROM turns WHERE conversation = ?)) ON CONFLICT DO NOTHING RETURNING number"
)
_ADMITTED = (
    "SELECT state, worker, sent, outcome, number, EXISTS (SELECT 1 FROM turns WHERE conversation = this.conversation"
    f" AND number > this.number) FROM turns AS this WHERE {KEY}"
)
_LATER = "SELECT turn FROM turns WHERE conversation = ? AND number > ? ORDER BY number DESC LIMIT 20"
_RUN_AGAIN = f"DELETE FROM turns WHERE {KEY} AND number = ? AND state = 'ended'"
_ONE = f"{CALLS} AND call = ?"
_LAST = """SELECT turn, asked, outcome, heard, EXISTS (SELECT 1 FROM tool_calls
        WHERE conversation = this.conversation AND turn = this.turn)
    FROM turns AS this WHERE conversation = ? ORDER BY number DESC LIMIT 1"""
_FINISH = f"UPDATE turns SET state = 'ended', outcome = ?, sent = ?, trace = ?, ended = ? WHERE {KEY} AND worker = ?"
_PENDING = f"""SELECT coalesce((SELECT coalesce(outcome, '') <> 'answered' FROM turns
        WHERE conversation = this.conversation AND number < this.number ORDER BY number DESC LIMIT 1), false)
    OR EXISTS (SELECT 1 FROM turns WHERE conversation = this.conversation AND number < this.number
        AND state = 'running')
    OR EXISTS (SELECT 1 FROM tool_calls WHERE conversation = this.conversation AND told = 0)
    OR EXISTS (SELECT 1 FROM notes WHERE conversation = this.conversation AND seen = 0 AND kind = 'data')
    OR EXISTS (SELECT 1 FROM summaries WHERE conversation = this.conversation)
    FROM turns AS this WHERE {KEY}"""


class _Entered(NamedTuple):
    """A turn that was entered before. gone_on: there is a newer one."""

    state: str
    worker: str
    sent: str | None
    outcome: str | None
    number: int
    gone_on: bool


class Journal:
    def __init__(self, storage: Storage, workers: SingleWorker) -> None:
        self._impatient = storage.database
        self._database = storage.journal
        self._workers = workers
        self._now = storage.now

    async def ping(self) -> None:
        await self._impatient.fetch("SELECT 1 FROM turns LIMIT 1")

    # Turns.

    async def admit(self, request: TurnRequest, *, has_waited: bool = False) -> Admission:
        """Enter a turn, if it is new, and look in the same visit whether there is anything that it must know. One
        that crashed is run again, unless the conversation has gone on since; so is one that is to be resumed.
        has_waited: what has gone on since has come after this request."""
        entry: dict[str, Any] = {"text": request.text, "caller": request.caller, "metadata": request.metadata}
        entry["heard"] = asdict(request.heard) if request.heard else None
        if request.abilities:
            entry["abilities"] = sorted(request.abilities)
        more = {
            "place": request.place,
            "language": request.language,
            "line": request.line,
            "instructions": request.instructions,
            "platform": request.platform,
            "frames": request.frames,
        }
        entry |= {name: value for name, value in more.items() if value}
        row = *request.key, as_json(entry), self._now(), self._workers.name, request.conversation_id
        again = False
        while True:
            new, found = await self._impatient.fetch_each((_ADMIT, *row), (_PENDING, *request.key))
            if new:
                pending = not found or found[0][0]  # nothing is found when it has been forgotten at once
                nothing_pending = not (pending or request.heard or again)
                return Admission(number=new[0][0], nothing_pending=nothing_pending, again=again)
            if known := await self._impatient.fetch(_ADMITTED, *request.key):
                entered = _Entered(*known[0])
                if not (request.resume and await self._is_lost(request, entered, has_waited)):
                    return await self._again(request, entered)
                again = bool(await self._impatient.execute(_RUN_AGAIN, *request.key, entered.number))
            # Another turn of the conversation was given that number at this moment.

    async def _is_lost(self, request: TurnRequest, entered: _Entered, has_waited: bool) -> bool:
        """Whether a turn was not answered, or another one has taken its place, and nothing else has come since."""
        if entered.state != "ended" or (has_waited and entered.gone_on):
            return False
        later = [turn for (turn,) in await self._impatient.fetch(_LATER, request.conversation_id, entered.number)]
        in_its_place = [turn for turn in later if request.place and turn.startswith(request.place)]
        return later == in_its_place and bool(later or entered.outcome != "answered")

    async def _again(self, request: TurnRequest, entered: _Entered) -> Admission:
        """A turn that has been entered before: over, at work on another worker, or crashed."""
        if entered.state == "running" and await self._workers.may_live(entered.worker):
            return Admission(elsewhere=True)
        if entered.state == "ended" or entered.gone_on:
            return Admission(sent=sent_of(entered.sent))
        taken = await self._database.execute(
            f"UPDATE turns SET worker = ? WHERE {KEY} AND worker = ? AND state = 'running'",
            self._workers.name, *request.key, entered.worker,
        )  # fmt: skip
        return Admission(number=entered.number, again=True) if taken else Admission(elsewhere=True)

    async def finish(self, turn: Turn, pending_context: PendingContext) -> bool:
        """Complete a turn whose checkpoint is written, in one transaction with marking what that told as reported.
        False when the turn is not in the journal any more: its conversation has been deleted."""
        *_, completed = await self._database.execute_each(
            *reported(turn, pending_context, self._now()),
            (_FINISH, turn.outcome, as_json([row_of(sent) for sent in turn.sent]), as_json(turn.trace), self._now(),
             *turn.request.key, self._workers.name),
        )  # fmt: skip
        return bool(completed)

    async def leave(self, turn: Turn) -> None:
        """A turn was broken off: keep what was sent, for the turn that recovers it, on whichever worker."""
        await self._database.execute(RELEASE, *leaving(turn, self._workers.name))

    async def pending_context(
        self, request: TurnRequest, live: Collection[Key], running: Collection[str]
    ) -> PendingContext:
        """What `request`'s turn must know. live: the keys of the conversation's turns that run now, running: its calls
        that do."""
        return await read_pending(self._database, self._workers, request, live, running)

    async def calls_at_work(self, request: TurnRequest, running: Collection[str]) -> bool:
        """Whether a tool call of an earlier run of this turn is at work. running: as in `pending_context`."""
        return await calls_at_work(self._database, self._workers, request, running)

    async def last_turn(self, conversation: str) -> LastTurn | None:
        """The conversation's newest turn. None when there is no turn at all."""
        rows = await self._database.fetch(_LAST, conversation)
        if not rows:
            return None
        turn, asked, outcome, heard, has_called = rows[0]
        report = HeardReport(**json.loads(heard)) if heard else None
        return LastTurn(turn, json.loads(asked)["text"], outcome == "answered", bool(has_called), report)

    async def heard(self, conversation: str, report: HeardReport) -> None:
        """Keep what was heard of a turn: the next one is told of it, but there may be none."""
        await self._impatient.execute(
            "UPDATE turns SET heard = ? WHERE conversation = ? AND turn = ?",
            as_json(asdict(report)), conversation, report.turn_id,
        )  # fmt: skip

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
            as_json(arguments), as_json(message), self._now(), self._workers.name,
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
            state, result, as_json(progress), ms, as_json(unspoken), self._now(),
            int(reported), *request.key, self._workers.name, request.conversation_id, call,
        )  # fmt: skip

    # Notes.

    async def note(self, conversation: str, id_: str, kind: str, body: Any) -> None:
        """Keep something for later. The same id again changes nothing."""
        await self._database.execute(
            "INSERT INTO notes (conversation, id, kind, body, seen, at) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            conversation, id_, kind, as_json(body), int(kind != "data"), self._now(),
        )  # fmt: skip
        if kind == "data":
            await self._database.execute(_FORGET_NOTES, conversation, conversation, _KEPT_NOTES)
