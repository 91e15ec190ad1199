"""RETENTION_DAYS on a machine whose clock has jumped ahead: nothing is deleted, until the clock has proved right."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.storage import Storage, open_storage
from agent.storage.retention import _Clock, _expire_by

DAY = 24 * 3600.0
AGE = 90 * DAY
TODAY = 20_000 * DAY


class Time:
    """now: the machine's clock; passed: since the process began, in truth."""

    def __init__(self, now: float) -> None:
        self.now, self.passed = now, 0.0
        self.clock = _Clock(lambda: self.now, lambda: self.passed)

    def go(self, seconds: float) -> None:
        self.now += seconds
        self.passed += seconds


@pytest.fixture(params=["SQLite", "Postgres"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    url = f"sqlite:///{tmp_path}/voice.db"
    if request.param == "Postgres":
        url = request.getfixturevalue("postgres_url")
    async with open_storage(url) as made:
        yield made


async def talk(storage: Storage, name: str, at: float) -> None:
    await storage.database.execute(
        "INSERT INTO turns (conversation, turn, kind, asked, state, started)"
        " VALUES (?, 't', 'message', '{}', 'ended', ?)",
        name,
        at,
    )


async def kept(storage: Storage, time: Time) -> list[str]:
    await _expire_by(time.clock, storage, AGE, lambda _: None)
    rows = await storage.database.fetch("SELECT DISTINCT conversation FROM turns ORDER BY conversation")
    return [row[0] for row in rows]


async def test_a_clock_that_is_months_ahead_deletes_nothing(storage: Storage, caplog: pytest.LogCaptureFixture) -> None:
    """Not at the start, and not when callers have come at the wrong time."""
    for days in (1, 30, 60):
        await talk(storage, f"c{days}", TODAY - days * DAY)
    wrong = Time(TODAY + 200 * DAY)
    assert await kept(storage, wrong) == ["c1", "c30", "c60"]
    await talk(storage, "new", wrong.now)
    wrong.go(DAY)
    assert await kept(storage, wrong) == ["c1", "c30", "c60", "new"]
    assert caplog.text.count("this machine's clock may have jumped ahead") == 2
    assert await kept(storage, Time(TODAY)) == ["c1", "c30", "c60", "new"]


async def test_a_jump_while_it_runs_deletes_nothing_either(storage: Storage) -> None:
    time = Time(TODAY)
    time.go(10 * DAY)
    await talk(storage, "c1", time.now)
    time.now += 365 * DAY
    assert await kept(storage, time) == ["c1"]


async def test_with_a_clock_that_goes_right_the_old_ones_are_deleted(storage: Storage) -> None:
    for days in (1, 30, 91, 500):
        await talk(storage, f"c{days}", TODAY - days * DAY)
    assert await kept(storage, Time(TODAY)) == ["c1", "c30"]


async def test_where_nobody_calls_any_more_they_are_deleted_after_three_days(storage: Storage) -> None:
    await talk(storage, "c200", TODAY - 200 * DAY)
    time = Time(TODAY)
    assert await kept(storage, time) == ["c200"]
    time.go(3 * DAY)
    assert await kept(storage, time) == []


async def test_when_callers_come_again_after_a_long_pause_so_they_are(storage: Storage) -> None:
    """Also when the process is restarted every day."""
    await talk(storage, "c200", TODAY - 200 * DAY)
    await talk(storage, "new", TODAY)
    assert await kept(storage, Time(TODAY + DAY)) == ["c200", "new"]
    assert await kept(storage, Time(TODAY + 4 * DAY)) == ["new"]
