"""What journal and tools know of a database, whichever it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

Row = tuple[Any, ...]
Query = tuple[Any, ...]  # SQL, and its parameters


class DatabaseError(Exception):
    """The database cannot be opened. The text is one sentence for the operator."""


class Database(Protocol):
    """SQL with `?` for parameters. Each call is a transaction of its own."""

    async def execute(self, sql: str, *parameters: Any) -> int:
        """Run one statement; the number of rows it changed."""

    async def execute_each(self, *statements: Query) -> Sequence[int]:
        """Run several statements in one transaction; the number of rows that each changed."""

    async def fetch(self, sql: str, *parameters: Any) -> Sequence[Row]:
        """Run one statement (a query, or a change with RETURNING); its rows."""

    async def fetch_each(self, *queries: Query) -> Sequence[Sequence[Row]]:
        """Run several queries in one visit to the database; the rows of each."""
