"""What a platform's side may send and never does: each gets an answer of ours, and none an internal error."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.backend import Backend, backend
from tests.support.gemini import Gemini, text
from tests.support.phone import signature
from tests.support.platforms import COMPLETIONS_KEY, platform_settings


@pytest.fixture
async def server(gemini: Gemini, tmp_path: Path) -> AsyncIterator[Backend]:
    gemini.answer = lambda _: text("Hello.")
    async with backend(**platform_settings(gemini, tmp_path)) as server:
        yield server


ODD_TOOLS: list[Any] = [
    {"function": {"name": ["end_call"]}}, {"function": {"name": {}}}, {"function": {"name": None}},
    {"function": {"name": 1}}, {"function": []}, {}, "end_call", None,
]  # fmt: skip


@pytest.mark.parametrize("tool", ODD_TOOLS, ids=str)
async def test_a_completions_tool_of_an_odd_shape_is_none(server: Backend, tool: Any) -> None:
    body = {"messages": [{"role": "user", "content": "Hello?"}], "user": "u1", "tools": [tool]}
    headers = {"Authorization": f"Bearer {COMPLETIONS_KEY}"}
    answer = await server.http.post(f"{server.url}/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == "Hello."


@pytest.mark.parametrize(
    "handoff",
    ["[" * 20_000, "{", "[]", '{"transfer": 5}', '{"transfer": "\\ud800"}', '{"transfer": "+49\\u001b30"}', "\ufffe"],
    ids=["deep", "half", "a list", "a number", "half a character", "a control character", "no character"],
)
async def test_a_handoff_that_names_nobody_ends_the_call(server: Backend, handoff: str) -> None:
    url, fields = f"{server.url}/twilio/ended", {"CallSid": "CA1", "HandoffData": handoff}
    answer = await server.http.post(url, data=fields, headers=signature(url, fields))
    assert (answer.status_code, answer.text.count("<Hangup"), answer.text.count("<Dial")) == (200, 1, 0)
