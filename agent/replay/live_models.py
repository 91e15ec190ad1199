"""A live model in a conversation that is held in virtual time."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage

from agent.llm import Models
from agent.replay.virtual_time import real_time


class LiveModels(Models):
    """Models that are asked in real time."""

    async def answer(self, *args: Any, **kwargs: Any) -> list[AIMessage]:
        with real_time():
            return await super().answer(*args, **kwargs)

    def warm(self) -> None:
        """Nothing waits for that connection yet, so it would have no time."""


def in_real_time(models: Models) -> Models:
    """The same, asked in real time. They do not summarise: that would be asked outside of it."""
    return LiveModels(
        models.primary, models.fallback, first_token=models.first_token, apology=models.apology, ending=models.ending,
        thinking=models.thinking,
    )  # fmt: skip
