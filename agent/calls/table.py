"""The table `calls`: a row per call, kept while there is a hook that wants to know of its end.

    conversation, number
              which of the conversation's calls it is
    session   what the platform calls it; "" where it does not, and a call ends when nothing comes for a while
    platform, started, ended
    how       it ended (`HowEnded`), as far as it is known
    state     open | reporting | reported | failed
    worker    the process that holds its socket, or reports it; "" of none
    holder    the socket: one that was opened for the same call later has taken it over
    due       when it is to be reported, if nothing is heard of it until then and no process holds it
    attempts  how often that was begun
    done      JSON: the tool files whose hook has been through

Times are Unix seconds.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from agent.storage import Storage, as_json

_THIS = "conversation = ? AND session = ? AND state = 'open'"
_GOES_ON = f"UPDATE calls SET due = ? WHERE {_THIS} AND ended IS NULL"
_OPEN = f"UPDATE calls SET worker = ?, holder = ?, ended = NULL, how = NULL WHERE {_THIS}"
_BEGIN = (
    "INSERT INTO calls (conversation, number, session, platform, started, state, worker, holder, due, attempts, done)"
    " SELECT ?, (SELECT coalesce(max(number), 0) + 1 FROM calls WHERE conversation = ?), ?, ?, ?, 'open', ?, ?, ?, 0,"
    " '[]' WHERE NOT EXISTS (SELECT 1 FROM calls WHERE conversation = ? AND session = ? AND session <> '')"
    " ON CONFLICT DO NOTHING"
)
_CLOSE = (
    "UPDATE calls SET worker = '', holder = '', due = CASE WHEN ended IS NULL THEN ? ELSE ? END,"
    f" ended = coalesce(ended, ?), how = coalesce(how, ?) WHERE {_THIS} AND holder = ?"
)
_OVER = (
    "UPDATE calls SET due = ?, ended = coalesce(ended, ?),"
    f" how = CASE WHEN coalesce(how, 'dropped') = 'dropped' THEN coalesce(?, how) ELSE how END WHERE {_THIS}"
)
_MARK = f"UPDATE calls SET how = ? WHERE {_THIS}"
_ONE = "conversation = ? AND number = ?"
_DUE = (
    "SELECT conversation, number, session, platform, started, ended, how, attempts, done FROM calls"
    " WHERE state IN ('open', 'reporting') AND worker = '' AND due <= ? ORDER BY due LIMIT ?"
)
_LATER = f"UPDATE calls SET due = ? WHERE {_ONE} AND worker = ''"
_CLAIM = (
    f"UPDATE calls SET worker = ?, state = 'reporting', attempts = attempts + 1 WHERE {_ONE}"
    " AND worker = '' AND attempts = ? AND due <= ? AND state IN ('open', 'reporting')"
)
_SETTLE = f"UPDATE calls SET worker = '', state = ?, due = ?, done = ? WHERE {_ONE}"
_NEXT = "SELECT min(started) FROM calls WHERE conversation = ? AND number > ?"
_LAST_END = "SELECT coalesce(max(ended), 0) FROM calls WHERE conversation = ?"
# A socket may be opened again; what was being reported is tried again.
_RELEASE = (
    "UPDATE calls SET worker = '', holder = '', due = CASE state WHEN 'open' THEN ? ELSE ? END,"
    " how = CASE state WHEN 'open' THEN coalesce(how, 'dropped') ELSE how END WHERE worker <> ''"
)


@dataclass(frozen=True)
class CallRow:
    conversation: str
    number: int
    session: str
    platform: str
    started: float
    ended: float | None
    how: str | None
    attempts: int
    done: str


class CallTable:
    """me: this process, in `worker`."""

    def __init__(self, storage: Storage, me: str) -> None:
        self._database = storage.database
        self._patient = storage.journal
        self._me = me

    async def goes_on(self, conversation: str, session: str, platform: str, at: float, due: float) -> None:
        """Something was heard of a call at that time, perhaps its beginning."""
        await self._begun(
            (_GOES_ON, due, conversation, session), conversation, session, platform, at, holder="", worker="", due=due
        )

    async def open(self, conversation: str, session: str, platform: str, holder: str) -> None:
        """A call has a socket, perhaps once more."""
        await self._begun(
            (_OPEN, self._me, holder, conversation, session),
            conversation, session, platform, time.time(), holder=holder, worker=self._me, due=time.time(),
        )  # fmt: skip

    async def _begun(
        self, known: tuple[object, ...], conversation: str, session: str, platform: str, at: float,
        *, holder: str, worker: str, due: float,
    ) -> None:  # fmt: skip
        for _ in range(3):  # another call of the conversation may be given that number at this moment
            if await self._database.execute(*known):  # type: ignore[arg-type]
                return
            begun = await self._database.execute(
                _BEGIN, conversation, conversation, session, platform, at, worker, holder, due, conversation, session
            )
            if begun:
                return

    async def close(self, conversation: str, session: str, holder: str, how: str, due: float) -> None:
        """The socket is closed. due: unless it is known that the call is over."""
        now = time.time()
        await self._database.execute(_CLOSE, due, now, now, how, conversation, session, holder)

    async def over(self, conversation: str, session: str, how: str | None) -> bool:
        """The platform says that the call is over. Whether it is known."""
        now = time.time()
        return bool(await self._database.execute(_OVER, now, now, how, conversation, session))

    async def mark(self, conversation: str, session: str, how: str) -> None:
        """How the call is going to end."""
        await self._database.execute(_MARK, how, conversation, session)

    async def due(self, most: int) -> Sequence[CallRow]:
        rows = await self._database.fetch(_DUE, time.time(), most)
        return [CallRow(*row) for row in rows]

    async def later(self, call: CallRow, seconds: float) -> None:
        await self._database.execute(_LATER, time.time() + seconds, call.conversation, call.number)

    async def claim(self, call: CallRow) -> bool:
        """Whether the call is this process's to report."""
        claimed = _CLAIM, self._me, call.conversation, call.number, call.attempts, time.time()
        return bool(await self._database.execute(*claimed))

    async def settle(self, call: CallRow, state: str, done: Collection[str], again_after: float = 0) -> None:
        """It was reported, or is tried again after so many seconds."""
        due = time.time() + again_after
        await self._patient.execute(_SETTLE, state, due, as_json(sorted(done)), call.conversation, call.number)

    async def last_end(self, conversation: str) -> float:
        """When the conversation's last call ended; 0 when there was none."""
        return float((await self._database.fetch(_LAST_END, conversation))[0][0])

    async def until(self, call: CallRow) -> float | None:
        """When the conversation's next call began."""
        return (await self._database.fetch(_NEXT, call.conversation, call.number))[0][0]  # type: ignore[no-any-return]

    async def release(self, grace: float, *, mine: bool = False, but: Collection[str] | None = None) -> None:
        """Let go of the calls of this process (mine), or of all processes but these; else of all. grace: seconds in
        which a socket may be opened again."""
        now = time.time()
        if mine:
            await self._database.execute(f"{_RELEASE} AND worker = ?", now + grace, now, self._me)
        else:
            others = [*(but or ())]
            among = f" AND worker NOT IN ({', '.join('?' * len(others))})" if others else ""
            await self._database.execute(f"{_RELEASE}{among}", now + grace, now, *others)
