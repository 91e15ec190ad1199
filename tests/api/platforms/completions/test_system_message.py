"""The client's system message: ignored, or put behind the agent's prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.support.backend import backend
from tests.support.gemini import Gemini, text
from tests.support.platforms import COMPLETIONS_KEY, platform_settings, shown

THEIRS = "You sell boats, and nothing else."


@pytest.mark.parametrize("setting", ["ignore", "append"])
async def test_it_is_the_operators_choice(gemini: Gemini, tmp_path: Path, setting: str) -> None:
    """In either case it is none of the caller's words, and the agent's own prompt stands first."""
    gemini.script(text("Ahoy."))
    messages: Any = [{"role": "system", "content": THEIRS}, {"role": "user", "content": "Hello"}]
    settings = platform_settings(gemini, tmp_path, completions_system_message=setting)
    async with (
        backend(**settings) as server,
        AsyncOpenAI(api_key=COMPLETIONS_KEY, base_url=f"{server.url}/v1", max_retries=0) as client,
    ):
        made = await client.chat.completions.create(model="x", user="c1", messages=messages)
        assert made.choices[0].message.content == "Ahoy."
    (request,) = gemini.requests
    prompt = str(request.body["systemInstruction"]["parts"][0]["text"])
    assert (THEIRS in prompt.splitlines()) == (setting == "append")
    assert (THEIRS in prompt) == (setting == "append")
    assert not prompt.startswith(THEIRS)
    assert shown(request.body) == [("user", "Hello")]
