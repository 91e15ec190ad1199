"""The rooms of agent/ and api/: others use what a room exports. Their order is import-linter's (pyproject.toml)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOT_FOLDERS = [ROOT / folder for folder in ("agent", "api", "tools")]
ROOMS = {
    f"{folder}.{path.parent.name}" for folder in ("agent", "api") for path in (ROOT / folder).glob("*/__init__.py")
}
PLATFORMS = {f"api.platforms.{path.parent.name}" for path in (ROOT / "api/platforms").glob("*/__init__.py")}
# What a room cannot import itself: it needs an extra, or loads the agent for a command that does without.
APART = {
    "agent.llm.gemini.declaration",
    "agent.tooling.mcp",
    "agent.tooling.mcp_tools",
    "api.operations.spans",
    "api.platforms.completions.platform",
    "api.platforms.conversation_relay.platform",
    "api.platforms.layercode.platform",
    "api.platforms.platform",
    "api.platforms.playback",
    "api.platforms.registry",
    "api.platforms.speech_engine.platform",
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def room_of(module: str) -> str:
    """The innermost room that a module stands in; "" for none."""
    parts = module.split(".")
    names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((name for name in names if name in ROOMS | PLATFORMS), "")


def test_what_a_room_does_not_export_is_not_imported_from_outside() -> None:
    assert len(ROOMS) == 15
    for path in [file for folder in ROOT_FOLDERS for file in folder.rglob("*.py")]:
        mine = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for name in imports(path):
            room = room_of(name)
            if room and name != room and not f"{mine}.".startswith(f"{room}.") and not _shares(mine, room):
                assert name in APART, f"{path.relative_to(ROOT)} imports {name}"


def test_a_room_is_seen_at_a_glance() -> None:
    """What does not fit belongs into the room of those who use it, or is two things."""
    modules = {path: len(path.read_text().splitlines()) for folder in ROOT_FOLDERS for path in folder.rglob("*.py")}
    assert {path.relative_to(ROOT): lines for path, lines in modules.items() if lines > 300} == {}
    assert modules[ROOT / "agent/graph.py"] <= 200
    for folder, most in (("agent", 10), ("api", 6)):
        names = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__"}
        assert len(names) <= most, f"{folder}/ has {sorted(names)}: one of them belongs into a room"


def _shares(module: str, room: str) -> bool:
    """Whether a platform uses what platforms share."""
    return room == "api.platforms" and room_of(module) in PLATFORMS


def test_each_room_says_what_it_is_for() -> None:
    for init in (file for folder in ("agent", "api") for file in (ROOT / folder).rglob("__init__.py")):
        assert ast.get_docstring(ast.parse(init.read_text())), init


def test_the_agent_does_not_know_layercodes_event_names() -> None:
    for path in (ROOT / "agent").rglob("*.py"):
        for word in ("session.start", "session.end", "response.tts", "response.end", "layercode"):
            assert word not in path.read_text().lower(), path
