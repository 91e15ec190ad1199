"""The rooms of the house: what each folder must not know."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "api": ("langgraph", "langchain", "langchain_core", "langchain_google_genai"),
    "agent": ("fastapi", "starlette", "sse_starlette", "api"),
    "tools": ("api",),
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_a_folder_imports_nothing_it_must_not_know(folder: str) -> None:
    paths = sorted((ROOT / folder).rglob("*.py"))
    assert paths
    for path in paths:
        found = {name.split(".")[0] for name in imports(path)}
        assert not found & set(FORBIDDEN[folder]), path


def test_the_agent_does_not_know_layercodes_event_names() -> None:
    for path in (ROOT / "agent").rglob("*.py"):
        for word in ("session.start", "session.end", "response.tts", "response.end", "layercode"):
            assert word not in path.read_text().lower(), path
