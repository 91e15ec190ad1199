"""How the agent converses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from agent.languages import Texts

PROMPT_FILE = Path(__file__).parent / "prompt.md"


@dataclass(frozen=True)
class AgentConfig:
    """`prompt` may hold {today}. `welcome_back` greets somebody who has spoken here before; empty: nothing is said.
    `language`: of the fixed lines, while that of the conversation is not known. Times in seconds. `reload_tools`: read
    changed tool files before each turn, for development. `max_turns`: at once, of all conversations. `action_hold`:
    how long an action waits where a request may be a guess."""

    prompt: str = field(default_factory=lambda: PROMPT_FILE.read_text(encoding="utf-8"))
    welcome: Texts = ""
    welcome_back: Texts = ""
    language: str = "en"
    turn_timeout: float = 60.0
    max_tool_steps: int = 8
    max_turns: int = 500
    action_hold: float = 2.0
    reload_tools: bool = False
    today: Callable[[], str] = lambda: f"{datetime.now().astimezone():%A, %-d %B %Y}"
