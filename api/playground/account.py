"""What a session comes to: its `session.end` (protocol sheet §2.2)."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import Any

_MOST_LINES = 1_000  # of the transcript


class Account:
    """Kept while a session lasts. No audio passes through the stand-in, so the seconds of it are 0."""

    def __init__(self) -> None:
        self._began = datetime.now(UTC)
        self._lines: deque[dict[str, Any]] = deque(maxlen=_MOST_LINES)
        self._waits: deque[float] = deque(maxlen=_MOST_LINES)

    def note(self, role: str, text: str) -> None:
        if text:
            self._lines.append({"role": role, "text": text, "timestamp": int(datetime.now(UTC).timestamp() * 1000)})

    def waited(self, seconds: float | None) -> None:
        """From the end of the user's turn to the first word; None when there was none."""
        if seconds is not None:
            self._waits.append(seconds)

    def closed(self) -> dict[str, Any]:
        ended = datetime.now(UTC)
        return {
            "started_at": _iso(self._began),
            "ended_at": _iso(ended),
            "duration": int((ended - self._began).total_seconds() * 1000),
            "transcription_duration_seconds": 0,
            "tts_duration_seconds": 0,
            "latency": int(sum(self._waits) / len(self._waits) * 1000) if self._waits else None,
            "transcript": list(self._lines),
        }


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
