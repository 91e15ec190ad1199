"""What holds on Layercode holds on every platform: interruptions at every place, and the same request again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.agent.turns import test_barge_in
from tests.support.conversation import Tools
from tests.support.gemini import Gemini
from tests.support.platform_caller import OTHERS, PlatformBackend, secrets_for


@pytest.fixture(params=OTHERS)
async def backend(request: pytest.FixtureRequest, start: Any, deeds: Tools) -> AsyncIterator[PlatformBackend]:
    platform: str = request.param
    made = await start(tools_dir=deeds.folder, action_hold_seconds=0.02, **secrets_for(platform))
    backend = PlatformBackend(platform, made)
    yield backend
    await backend.close()


@pytest.mark.parametrize("script", test_barge_in.SCRIPTS)
async def test_whatever_was_heard_is_remembered_and_whatever_was_done_was_done_once(
    gemini: Gemini, backend: PlatformBackend, deeds: Tools, script: str
) -> None:
    """The matrix of interruptions."""
    gemini.answer = test_barge_in.model
    await test_barge_in.play_all(script, backend, gemini, deeds, test_barge_in.quiet_for)
