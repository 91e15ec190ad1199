"""The figures and the transcript of a session, for its `session.end` webhook (protocol sheet §2.2)."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import Any

_MAX_LINES = 1_000  # of the transcript; older ones are dropped


class SessionReport:
    """Collects the transcript and the response times of one session, from its start on."""

    def __init__(self) -> None:
        self._started_at = datetime.now(UTC)
        self._lines: deque[dict[str, Any]] = deque(maxlen=_MAX_LINES)
        self._latencies: deque[float] = deque(maxlen=_MAX_LINES)

    def add_line(self, role: str, text: str) -> None:
        """Add a line to the transcript, unless `text` is empty. role: "user" or "assistant"."""
        if text:
            self._lines.append({"role": role, "text": text, "timestamp": int(datetime.now(UTC).timestamp() * 1000)})

    def add_latency(self, seconds: float | None) -> None:
        """The time from the end of the user's turn to the first word of the answer; None when there was no word."""
        if seconds is not None:
            self._latencies.append(seconds)

    def fields(self) -> dict[str, Any]:
        """The webhook's fields, with the session ending now. The playground handles no audio, so its seconds are 0."""
        ended_at = datetime.now(UTC)
        latencies = self._latencies
        return {
            "started_at": _iso(self._started_at),
            "ended_at": _iso(ended_at),
            "duration": int((ended_at - self._started_at).total_seconds() * 1000),
            "transcription_duration_seconds": 0,
            "tts_duration_seconds": 0,
            "latency": int(sum(latencies) / len(latencies) * 1000) if latencies else None,
            "transcript": list(self._lines),
        }


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
