from __future__ import annotations

import asyncio
import logging

import pytest

from agent.failures import logged

log = logging.getLogger(__name__)


def test_a_failure_is_logged_by_its_kind_and_the_program_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    with logged(log, "it did not work") as attempt:
        raise ValueError("secret")
    assert attempt.failed
    assert caplog.messages[0].startswith("it did not work: ValueError at ")
    assert "secret" not in caplog.text


def test_without_a_failure_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with logged(log, "it did not work") as attempt:
        pass
    assert not attempt.failed
    assert not caplog.messages


async def test_a_cancellation_passes() -> None:
    with pytest.raises(asyncio.CancelledError), logged(log, "it did not work"):
        raise asyncio.CancelledError
