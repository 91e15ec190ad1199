from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.openai import OpenAI, openai


@pytest.fixture
def gpt(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAI]:
    """OpenAI's stand-in, which its real client is led to."""
    with openai() as server:
        monkeypatch.setenv("OPENAI_API_KEY", "test-key")
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        yield server
