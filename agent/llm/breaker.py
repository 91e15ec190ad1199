"""A circuit breaker: a model that fails again and again is left alone for a while."""

from __future__ import annotations

_FAILURES = 5  # in a row
_PAUSE = 15.0  # seconds


class Breaker:
    """Closed: every request goes through. Open, after `failures` in a row: none for `pause` seconds, then one, as a
    probe. Its success closes the circuit; its failure, or silence, leaves it open for another pause.

    Times are those of the event loop.
    """

    def __init__(self, failures: int = _FAILURES, pause: float = _PAUSE) -> None:
        self._most = failures
        self._pause = pause
        self._failures = 0
        self._probe_at = 0.0

    @property
    def open(self) -> bool:
        return self._failures >= self._most

    def allows(self, now: float) -> bool:
        """Whether to ask the model now. While the circuit is open, a yes is the probe, and the next waits a pause."""
        if not self.open:
            return True
        if now < self._probe_at:
            return False
        self._probe_at = now + self._pause
        return True

    def failed(self, now: float) -> None:
        self._failures += 1
        self._probe_at = now + self._pause

    def succeeded(self) -> None:
        self._failures = 0
