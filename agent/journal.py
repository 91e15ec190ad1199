"""What happened, per turn: what was asked, what was sent and when, which tools ran and how they ended.

Three tables, beside the checkpoints in the same database. Times are Unix seconds, JSON is UTF-8 text.

`turns`, a row per (conversation, turn, kind): written when a turn is admitted, completed when it ends.
    asked     JSON: {text, caller, metadata, heard: {text, turn_id} | null}
    state     running | ended. A running row without a live owner is what a crash leaves; the next turn ends it.
    outcome   answered | interrupted | failed | crashed
    sent      JSON: [[ms, "say", text, message id | null] | [ms, "show", data], …], ms since the turn began.
              After an interruption it ends where the connection did. NULL when a crash has left it unknown.
    trace     JSON: {models: [what the model was asked and what came: agent/trace.py], hung_up: [events, ms] | null}

`tool_calls`, a row per (conversation, call): written *before* the tool starts, completed when it is over.
    call      the message that made it, "/", and the id the model's client gave it
    turn, name, arguments (JSON)
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

`notes`, what else the model shall know next time: {kind: data, body: JSON}, of which it is told the newest 20; and
what the platform says of a session, {kind: ended | updated, body: JSON}: its transcript, figures, recording.

A turn costs two small writes, a tool call two more; nothing is written per token.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agent.memory import Database
from agent.turn import Asked, Heard, Kind, Say, Sent, Show

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS turns (
        conversation TEXT NOT NULL, turn TEXT NOT NULL, kind TEXT NOT NULL, asked TEXT NOT NULL,
        state TEXT NOT NULL, outcome TEXT, sent TEXT, trace TEXT,
        started DOUBLE PRECISION NOT NULL, ended DOUBLE PRECISION,
        PRIMARY KEY (conversation, turn, kind))""",
    """CREATE TABLE IF NOT EXISTS tool_calls (
        conversation TEXT NOT NULL, call TEXT NOT NULL, answers TEXT NOT NULL, turn TEXT NOT NULL,
        name TEXT NOT NULL, arguments TEXT NOT NULL, message TEXT NOT NULL,
        state TEXT NOT NULL, result TEXT, did TEXT, ms DOUBLE PRECISION, said TEXT,
        told INTEGER NOT NULL, started DOUBLE PRECISION NOT NULL, ended DOUBLE PRECISION,
        PRIMARY KEY (conversation, call))""",
    """CREATE TABLE IF NOT EXISTS notes (
        conversation TEXT NOT NULL, id TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL,
        seen INTEGER NOT NULL, at DOUBLE PRECISION NOT NULL, PRIMARY KEY (conversation, id))""",
    "CREATE INDEX IF NOT EXISTS turns_running ON turns (conversation) WHERE state = 'running'",
    "CREATE INDEX IF NOT EXISTS tool_calls_untold ON tool_calls (conversation) WHERE told = 0",
    "CREATE INDEX IF NOT EXISTS notes_unseen ON notes (conversation) WHERE seen = 0",
)
NEWEST_NOTES = 20
_CALLS = "SELECT call, answers, turn, name, message, state, result, said FROM tool_calls WHERE conversation = ?"
_OF_TURN = f"{_CALLS} AND turn = ? ORDER BY started"
_UNTOLD = f"{_CALLS} AND told = 0 ORDER BY started"
_ONE = f"{_CALLS} AND call = ?"


@dataclass(frozen=True)
class Call:
    """A row of `tool_calls`."""

    call: str
    answers: str
    turn: str
    name: str
    message: dict[str, Any]
    state: str
    result: str | None
    said: Sequence[str]


@dataclass(frozen=True)
class Note:
    body: str
    at: float


@dataclass(frozen=True)
class Crashed:
    """A turn that never ended, with the tool calls it had begun and, if it did not die with its process, what
    it had sent."""

    asked: Asked
    calls: Sequence[Call]
    sent: Sequence[Sent] = ()


@dataclass(frozen=True)
class Spoken:
    """What was sent in an earlier turn, and how much of it counts as heard.

    heard: the platform's `text_heard`; None when it said nothing: then all that was sent.
    """

    turn: str
    sent: Sequence[Sent]
    heard: str | None


@dataclass(frozen=True)
class Opening:
    """What a conversation's memory does not know yet when a turn begins.

    late: calls that their turn did not wait for. One without a result ran in a process that has died.
    """

    crashed: Sequence[Crashed] = ()
    late: Sequence[Call] = ()
    notes: Sequence[Note] = ()
    spoken: Sequence[Spoken] = ()


class Journal:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def setup(self) -> None:
        for statement in _SCHEMA:
            await self._database.execute(statement)

    async def ping(self) -> None:
        await self._database.fetch("SELECT 1 FROM turns LIMIT 1")

    # Turns.

    async def admit(self, asked: Asked) -> Sequence[Sent] | None:
        """Enter a turn. None when it is to be run, what was sent when it already has been. One that crashed is
        run again, unless the conversation has gone on since."""
        entry = {"text": asked.text, "caller": asked.caller, "metadata": asked.metadata}
        entry["heard"] = asdict(asked.heard) if asked.heard else None
        new = await self._database.execute(
            "INSERT INTO turns (conversation, turn, kind, asked, state, started) VALUES (?, ?, ?, ?, 'running', ?)"
            " ON CONFLICT DO NOTHING",
            *asked.key, _json(entry), time.time(),
        )  # fmt: skip
        if new:
            return None
        rows = await self._database.fetch(
            "SELECT sent FROM turns AS this WHERE conversation = ? AND turn = ? AND kind = ? AND (state = 'ended' OR"
            " EXISTS (SELECT 1 FROM turns WHERE conversation = this.conversation AND started > this.started))",
            *asked.key,
        )
        return _sent(rows[0][0]) if rows else None

    async def end(self, asked: Asked, sent: Sequence[Sent], outcome: str, trace: dict[str, Any] | None = None) -> None:
        await self._database.execute(
            "UPDATE turns SET state = 'ended', outcome = ?, sent = ?, trace = ?, ended = ?"
            " WHERE conversation = ? AND turn = ? AND kind = ?",
            outcome, _json([_row(s) for s in sent]), _json(trace), time.time(), *asked.key,
        )  # fmt: skip

    async def leave(self, asked: Asked, sent: Sequence[Sent]) -> None:
        """A turn was broken off: keep what was sent, for the turn that recovers it."""
        await self._database.execute(
            "UPDATE turns SET sent = ? WHERE conversation = ? AND turn = ? AND kind = ?",
            _json([_row(s) for s in sent]), *asked.key,
        )  # fmt: skip

    async def opening(self, asked: Asked, live: Collection[tuple[str, str, str]], at_work: Collection[str]) -> Opening:
        """What `asked`'s turn must know: turns that crashed (itself, if it ran before), late results, notes, and
        what was sent in turns that were interrupted. `live`: the keys of turns that are running now, `at_work`:
        those of the conversation's calls."""
        conversation = asked.conversation_id
        running = await self._database.fetch(
            "SELECT turn, kind, asked, sent FROM turns WHERE conversation = ? AND state = 'running' ORDER BY started",
            conversation,
        )
        crashed = []
        for *row, sent in running:
            before, calls = _asked(conversation, *row), await self._calls(_OF_TURN, conversation, row[0])
            if before.key not in live or (before.key == asked.key and calls):
                crashed.append(Crashed(before, calls, _sent(sent)))
        untold = await self._calls(_UNTOLD, conversation)
        late = [call for call in untold if call.state != "started" or call.call not in at_work]
        notes = await self._database.fetch(
            "SELECT body, at FROM notes WHERE conversation = ? AND seen = 0 AND kind = 'data' ORDER BY at DESC LIMIT ?",
            conversation, NEWEST_NOTES,
        )  # fmt: skip
        reports = [*(turn.asked for turn in crashed), asked]
        return Opening(crashed, late, [Note(*row) for row in reversed(notes)], await self._spoken(asked, reports))

    async def settle(self, asked: Asked, opening: Opening) -> None:
        """The memory now holds what `opening` told: say so, in as few writes as there is to say. A call that has
        ended since is told in the next turn."""
        conversation = asked.conversation_id
        for crashed in opening.crashed:
            if crashed.asked.key != asked.key:
                await self._database.execute(
                    "UPDATE turns SET state = 'ended', outcome = 'crashed', ended = ?"
                    " WHERE conversation = ? AND turn = ? AND kind = ?",
                    time.time(), *crashed.asked.key,
                )  # fmt: skip
        for call in [*opening.late, *(call for crashed in opening.crashed for call in crashed.calls)]:
            await self._database.execute(
                "UPDATE tool_calls SET told = CASE state WHEN ? THEN 2 ELSE 0 END,"
                " state = CASE state WHEN 'started' THEN 'unknown' ELSE state END"
                " WHERE conversation = ? AND call = ?",
                call.state, conversation, call.call,
            )  # fmt: skip
        if opening.notes:
            await self._database.execute(
                "UPDATE notes SET seen = 1 WHERE conversation = ? AND seen = 0 AND at <= ?",
                conversation, opening.notes[-1].at,
            )  # fmt: skip

    async def _spoken(self, asked: Asked, reports: Sequence[Asked]) -> list[Spoken]:
        """The turns whose interruption was reported by one of `reports`, and the last one before `asked`, if it
        was interrupted without a report."""
        heard: dict[str | None, str] = {}
        for report in reports:
            if report.heard:
                heard[report.heard.turn_id or await self._before(report)] = report.heard.text
        spoken = []
        for turn in dict.fromkeys([*heard, await self._before(asked)]):
            rows = await self._database.fetch(
                "SELECT sent, outcome FROM turns WHERE conversation = ? AND turn = ? AND sent IS NOT NULL",
                asked.conversation_id, turn,
            )  # fmt: skip
            for sent, outcome in rows:
                if turn in heard or outcome != "answered":
                    spoken.append(Spoken(str(turn), _sent(sent), heard.get(turn)))
        return spoken

    async def _before(self, asked: Asked) -> str | None:
        """The turn before."""
        rows = await self._database.fetch(
            "SELECT turn FROM turns WHERE conversation = ? AND started <"
            " (SELECT started FROM turns WHERE conversation = ? AND turn = ? AND kind = ?)"
            " ORDER BY started DESC LIMIT 1",
            asked.conversation_id, *asked.key,
        )  # fmt: skip
        return str(rows[0][0]) if rows else None

    # Tool calls.

    async def start_call(
        self,
        asked: Asked,
        call: str,
        answers: str,
        name: str,
        arguments: dict[str, Any],
        message: dict[str, Any],
    ) -> Call | None:
        """Enter a call before it is run. When it was entered before, that entry: it must not be run again."""
        new = await self._database.execute(
            "INSERT INTO tool_calls (conversation, call, answers, turn, name, arguments, message, state, told, started)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 'started', 0, ?) ON CONFLICT DO NOTHING",
            asked.conversation_id, call, answers, asked.turn_id, name, _json(arguments), _json(message), time.time(),
        )  # fmt: skip
        return None if new else (await self._calls(_ONE, asked.conversation_id, call))[0]

    async def end_call(
        self, asked: Asked, call: str, *, failed: bool, result: str, told: bool, did: Sequence[Any], ms: float,
        said: Sequence[str],
    ) -> None:  # fmt: skip
        await self._database.execute(
            "UPDATE tool_calls SET state = ?, result = ?, did = ?, ms = ?, said = ?, told = ?, ended = ?"
            " WHERE conversation = ? AND call = ?",
            "failed" if failed else "finished", result, _json(did), ms, _json(said), int(told), time.time(),
            asked.conversation_id, call,
        )  # fmt: skip

    async def _calls(self, query: str, *values: str) -> Sequence[Call]:
        return [_call(*row) for row in await self._database.fetch(query, *values)]

    # Notes.

    async def note(self, conversation: str, id_: str, kind: str, body: Any) -> None:
        """Keep something for later. The same id again changes nothing."""
        await self._database.execute(
            "INSERT INTO notes (conversation, id, kind, body, seen, at) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            conversation, id_, kind, _json(body), int(kind != "data"), time.time(),
        )  # fmt: skip


def _call(
    call: str,
    answers: str,
    turn: str,
    name: str,
    message: str,
    state: str,
    result: str | None,
    said: str | None,
) -> Call:
    return Call(call, answers, turn, name, json.loads(message), state, result, json.loads(said or "[]"))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def _row(sent: Sent) -> list[Any]:
    if isinstance(sent.event, Say):
        return [sent.ms, "say", sent.event.text, sent.event.of]
    return [sent.ms, "show", sent.event.data]


def _sent(rows: str | None) -> list[Sent]:
    return [Sent(row[0], Say(*row[2:]) if row[1] == "say" else Show(row[2])) for row in json.loads(rows or "[]")]


def _asked(conversation: str, turn: str, kind: Kind, entry: str) -> Asked:
    fields = json.loads(entry)
    heard = fields.pop("heard")
    return Asked(conversation, turn, kind, heard=Heard(**heard) if heard else None, **fields)
