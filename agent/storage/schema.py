"""The tables beside the checkpoints, and how those of an earlier version become today's.

Each version is the statements that lead to it from the one before. Nothing in a version is changed once it has
been released; the first takes a database from before there were numbers as it is.
"""

from __future__ import annotations

from agent.storage.database import Database

_FIRST = (
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
_WORKERS = (
    "ALTER TABLE turns ADD COLUMN number INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE turns ADD COLUMN worker TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE tool_calls ADD COLUMN worker TEXT NOT NULL DEFAULT ''",
    """UPDATE turns SET number = counted.number FROM (
        SELECT conversation, turn, kind, row_number() OVER (PARTITION BY conversation ORDER BY started) AS number
        FROM turns) AS counted
        WHERE turns.conversation = counted.conversation AND turns.turn = counted.turn AND turns.kind = counted.kind""",
    "CREATE UNIQUE INDEX turns_in_order ON turns (conversation, number)",
    "CREATE TABLE workers (id TEXT PRIMARY KEY, seen DOUBLE PRECISION NOT NULL)",
)
_GROWTH = (
    """CREATE TABLE summaries (
        conversation TEXT PRIMARY KEY, until TEXT NOT NULL, text TEXT NOT NULL, at DOUBLE PRECISION NOT NULL)""",
    "CREATE INDEX turns_by_age ON turns (started, conversation)",
    "CREATE INDEX notes_by_age ON notes (at, conversation)",
    "CREATE INDEX tool_calls_of_turn ON tool_calls (conversation, turn)",
    "DROP INDEX turns_running",
    "CREATE INDEX turns_running ON turns (conversation, number) WHERE state = 'running'",
)
_LOOKS = ("CREATE INDEX turns_at_work ON turns (worker, conversation) WHERE state = 'running'",)
_CALLS = (
    "ALTER TABLE turns ADD COLUMN heard TEXT",
    """CREATE TABLE calls (
        conversation TEXT NOT NULL, number INTEGER NOT NULL, session TEXT NOT NULL, platform TEXT NOT NULL,
        started DOUBLE PRECISION NOT NULL, ended DOUBLE PRECISION, how TEXT, state TEXT NOT NULL,
        worker TEXT NOT NULL, holder TEXT NOT NULL, due DOUBLE PRECISION NOT NULL,
        attempts INTEGER NOT NULL, done TEXT NOT NULL, PRIMARY KEY (conversation, number))""",
    "CREATE INDEX calls_due ON calls (due) WHERE state IN ('open', 'reporting')",
    "CREATE INDEX calls_held ON calls (worker) WHERE worker <> ''",
)
VERSIONS = (_FIRST, _WORKERS, _GROWTH, _LOOKS, _CALLS)


async def upgrade(database: Database) -> None:
    """Bring the tables to today's version. The caller sees to it that nobody else does, and that it is done whole
    or not at all."""
    await database.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
    reached = await version_of(database)
    for version, statements in enumerate(VERSIONS[reached:], reached + 1):
        for statement in statements:
            await database.execute(statement)
        await database.execute("INSERT INTO schema_version (version) VALUES (?)", version)


async def version_of(database: Database) -> int:
    return int((await database.fetch("SELECT coalesce(max(version), 0) FROM schema_version"))[0][0])
