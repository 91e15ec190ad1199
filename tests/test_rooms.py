"""The rooms of agent/: others use what a room exports. The order of the rooms is import-linter's (pyproject.toml)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOMS = sorted(path.parent.name for path in (ROOT / "agent").glob("*/__init__.py"))
OPTIONAL = {"agent.tooling.mcp"}  # needs an extra, so its room does not import it


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_what_a_room_does_not_export_is_not_imported_from_outside() -> None:
    assert len(ROOMS) == 6
    for path in [file for folder in ("agent", "api", "tools") for file in (ROOT / folder).rglob("*.py")]:
        mine = path.relative_to(ROOT).parts[:2]
        for name in imports(path):
            root, *inside = name.split(".")
            if root == "agent" and len(inside) > 1 and inside[0] in ROOMS and mine != ("agent", inside[0]):
                assert name in OPTIONAL, f"{path.relative_to(ROOT)} imports {name}"


def test_each_room_says_what_it_is_for() -> None:
    for init in (file for folder in ("agent", "api") for file in (ROOT / folder).rglob("__init__.py")):
        assert ast.get_docstring(ast.parse(init.read_text())), init


def test_the_agent_does_not_know_layercodes_event_names() -> None:
    for path in (ROOT / "agent").rglob("*.py"):
        for word in ("session.start", "session.end", "response.tts", "response.end", "layercode"):
            assert word not in path.read_text().lower(), path
