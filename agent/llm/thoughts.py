"""Thoughts in a model's stream: not for the ear, but a sign that it is alive."""

from __future__ import annotations

import asyncio

from agent.turns import Chunk, Say, TextChunk, Turn

_QUIET = 1.5  # seconds without a word after which thinking is worth a line


def is_thought(chunk: Chunk) -> bool:
    """Whether a chunk without words has thoughts in it, or counts some, in any provider's form."""
    if isinstance(chunk, TextChunk):
        return False
    usage = chunk.usage_metadata
    counted = usage.get("output_token_details", {}).get("reasoning") if usage else None
    return bool(chunk.content or chunk.additional_kwargs.get("reasoning_content") or counted)


class ThinkingLine:
    """Speaks a line once in a turn, as soon as the model thinks and nothing has been said for a while."""

    def __init__(self, turn: Turn, line: str) -> None:
        self._turn = turn
        self._line = line
        self._timer: asyncio.TimerHandle | None = None

    def goes_on(self, thinking: bool) -> None:
        """Whether the model thinks now."""
        if thinking and not self._timer and not self._was_said:
            began = self._turn.began + self._turn.model_calls[-1].began
            due = max(began, self._last_said) + _QUIET
            self._timer = asyncio.get_running_loop().call_at(due, self._turn.progress, self._line)
        elif not thinking and self._timer:
            self._timer.cancel()

    @property
    def _last_said(self) -> float:
        """When, in the event loop's time."""
        said = (sent.ms for sent in reversed(self._turn.events) if isinstance(sent.event, Say))
        return self._turn.began + next(said, 0) / 1000

    @property
    def _was_said(self) -> bool:
        lines = (sent.event for sent in self._turn.events)
        return not self._line or any(
            isinstance(line, Say) and line.of is None and line.text.strip() == self._line for line in lines
        )
