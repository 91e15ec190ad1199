from __future__ import annotations

from pathlib import Path

import pytest

from agent.storage.open import open_storage

ONE = "INSERT INTO summaries (conversation, until, text, at) VALUES (?, 'u', 't', 0)"


async def several_statements_are_one(url: str) -> None:
    async with open_storage(url) as storage:
        database = storage.journal
        assert await database.execute_each((ONE, "a"), (ONE, "b"), ("DELETE FROM summaries",)) == [1, 1, 2]
        with pytest.raises(Exception, match=r"(?i)unique"):
            await database.execute_each((ONE, "c"), (ONE, "c"))
        assert await database.fetch("SELECT 1 FROM summaries") == []
        assert await database.execute(ONE, "d") == 1


async def test_execute_each_is_one_transaction_in_sqlite(tmp_path: Path) -> None:
    await several_statements_are_one(f"sqlite:///{tmp_path}/voice.db")


async def test_execute_each_is_one_transaction_in_postgres(postgres_url: str) -> None:
    await several_statements_are_one(postgres_url)
