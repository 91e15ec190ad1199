"""From settings to a running agent: the same for the server and for the terminal."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from api.settings import NotConfigured, Settings

if TYPE_CHECKING:
    from agent.agent import Agent, Habits
    from agent.memory import Memory
    from agent.model import Models
    from agent.tool_files import ToolFolder
    from agent.turn import Turn


@dataclass(frozen=True)
class Parts:
    """What an agent is made of, checked."""

    folder: ToolFolder
    models: Models
    habits: Habits


def load_parts(settings: Settings, *, reload_tools: bool = False) -> Parts:
    """Read tools, prompt and model. NotConfigured has everything that is wrong, not only the first."""
    from agent.tool_files import ToolFileError, ToolFolder

    problems: list[str] = []
    folder = ToolFolder(settings.tools_dir)
    try:
        folder.load()
    except ToolFileError as error:
        if reload_tools and settings.tools_dir.is_dir():
            print(error, file=sys.stderr)  # noqa: T201 - it does not stop the start: mend it, and it is read again
        else:
            problems += str(error).splitlines()
    models = _models(settings, problems)
    habits = _habits(settings, problems, reload_tools=reload_tools)
    if problems or models is None or habits is None:
        raise NotConfigured(*problems)
    return Parts(folder, models, habits)


def load_models(settings: Settings) -> Models:
    """The model and its fallback. NotConfigured when they cannot be used."""
    problems: list[str] = []
    models = _models(settings, problems)
    if problems or models is None:
        raise NotConfigured(*problems)
    return models


def _models(settings: Settings, problems: list[str]) -> Models | None:
    from agent.model import ModelError, Models, load_model

    def load(variable: str, name: str) -> Any:
        try:
            return load_model(name, google_api_key=settings.google_key, google_base_url=settings.google_gemini_base_url)
        except ModelError as error:
            problems.append(str(error).replace("MODEL=", f"{variable}=", 1))
            return None

    primary = load("MODEL", settings.model)
    fallback = load("MODEL_FALLBACK", settings.model_fallback) if settings.model_fallback else None
    if primary is None:
        return None
    return Models(primary, fallback, first_token=settings.first_token_seconds, apology=settings.apology_message)


def _habits(settings: Settings, problems: list[str], *, reload_tools: bool) -> Habits | None:
    from agent.agent import PROMPT_FILE, Habits

    file = settings.system_prompt_file or PROMPT_FILE
    try:
        prompt = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"SYSTEM_PROMPT_FILE={file} cannot be read: {error}.")
        return None
    return Habits(
        prompt=prompt,
        welcome=settings.welcome_message,
        turn_timeout=settings.turn_timeout_seconds,
        max_tool_steps=settings.max_tool_steps,
        reload_tools=reload_tools,
    )


@asynccontextmanager
async def open_configured(
    settings: Settings, parts: Parts, observe: Callable[[Turn], object] | None = None
) -> AsyncIterator[tuple[Agent, Memory]]:
    """The agent and its memory. NotConfigured when the database cannot be opened."""
    from agent.agent import open_agent
    from agent.memory import open_memory

    async with (
        _explained_database(),
        open_memory(settings.database_url) as memory,
        open_agent(
            memory=memory, folder=parts.folder, models=parts.models, habits=parts.habits, observe=observe
        ) as agent,
    ):
        yield agent, memory


@asynccontextmanager
async def _explained_database() -> AsyncIterator[None]:
    from agent.memory import DatabaseError

    try:
        yield
    except DatabaseError as error:
        raise NotConfigured(str(error)) from error


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Memory]:
    """The memory, with the journal's tables in it. NotConfigured when the database cannot be opened."""
    from agent.journal import Journal
    from agent.memory import open_memory

    async with _explained_database(), open_memory(settings.database_url) as memory:
        await Journal(memory.database).setup()
        yield memory


async def check_database(settings: Settings) -> None:
    """NotConfigured when the database cannot be opened."""
    async with open_database(settings):
        pass
