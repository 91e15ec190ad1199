"""What a page, the TwiML or a client passes on with a call: the same limit on every platform."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from api.platforms import CallDetails, open_client, over_sockets, words_of
from api.platforms.metadata import MAX_METADATA
from api.settings import Settings
from tests.support.backend import backend
from tests.support.conversation import results_in
from tests.support.gemini import Gemini, calls, text
from tests.support.platform_caller import secrets_for

TOOL = '''
from agent import tool_context, voice_tool

@voice_tool(on_barge_in="cancel")
async def told() -> str:
    """What was passed on."""
    return f"{len(tool_context().metadata.get('a', ''))} characters"
'''


@pytest.mark.parametrize("platform", ["layercode", "relay", "completions"])
async def test_metadata_of_a_call_has_a_limit_on_every_platform(
    gemini: Gemini, tmp_path: Path, caplog: pytest.LogCaptureFixture, platform: str
) -> None:
    """What is larger is left out, with a line in the log, and the caller is answered all the same."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "told.py").write_text(TOOL)
    made: dict[str, Any] = {
        **secrets_for(platform),
        "google_api_key": "test-key",
        "google_gemini_base_url": gemini.url,
        "database_url": f"sqlite:///{tmp_path}/voice.db",
        "tools_dir": tmp_path / "tools",
    }
    async with backend(**made) as server, over_sockets(server.url) as network:
        for number, letters in enumerate((MAX_METADATA - 100, MAX_METADATA + 1)):
            gemini.script(calls(("told", {})), text("There."))
            call = CallDetails(f"call-{number}", metadata={"a": "x" * letters})
            secrets = Settings.model_construct(**secrets_for(platform))
            async with open_client(platform, network, secrets, call) as client:
                if client.must_begin:
                    await client.begin()
                    await client.answer()
                await client.say("What was passed on?")
                assert words_of(await client.answer()) == "There."
    told = [results_in(request.body)[0][1] for request in gemini.requests[1::2]]
    assert told == [f"{MAX_METADATA - 100} characters", "0 characters"]
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert ["larger than 16000 characters" in record.message for record in warnings] == [True]
