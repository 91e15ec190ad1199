"""Making the run file of a conversation from its journal."""

from __future__ import annotations

import asyncio

from agent.config import AgentConfig
from agent.replay import export_run, timeless
from agent.replay import run_file as runs
from agent.storage import Database
from agent.tooling import ToolFolder
from api.replay.player import Project, replay
from api.settings import Settings


async def record(
    database: Database, conversation: str, settings: Settings, config: AgentConfig, folder: ToolFolder
) -> tuple[runs.RunFile, list[int]] | None:
    """The run file of a finished conversation, scrubbed, and the numbers of the turns in which today's code sends
    something else than was sent. None when the journal does not have the conversation.

    The expectations come from replaying it once, with today's prompt and tools.
    """
    run = await export_run(database, conversation)
    if run is None:
        return None
    run.settings = settings_in_force(settings, config)
    clean = runs.scrubbed(run, settings.all_secrets())
    replayed = (await asyncio.to_thread(replay, clean, Project(folder, config))).run
    return replayed, sent_otherwise(clean, replayed)


def settings_in_force(settings: Settings, config: AgentConfig) -> runs.RecordedSettings:
    """What a conversation depends on today."""
    return runs.RecordedSettings(
        welcome=config.welcome,
        welcome_back=config.welcome_back,
        apology=settings.apology_message,
        ending=settings.ending_message,
        thinking=settings.thinking_message,
        language=config.language,
        turn_timeout=settings.turn_timeout_seconds,
        first_token=settings.first_token_seconds,
        fallback=settings.model_fallback is not None,
        max_tool_steps=settings.max_tool_steps,
        today=config.today(),
    )


def sent_otherwise(recorded: runs.RunFile, replayed: runs.RunFile) -> list[int]:
    """The numbers of the turns in which the replay sent something else than the recording did."""
    pairs = zip(recorded.turns, replayed.turns, strict=True)
    return [n for n, (one, other) in enumerate(pairs, 1) if timeless(one) != timeless(other)]
