"""Who is asked for an answer, in which order, and how long each has to begin.

The model twice, then its fallback. One that was silent, or has no quota left, is not asked again while there is a
fallback; one whose circuit is open is not asked at all. All attempts share one time limit: a caller waits no longer
because there were more of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from langchain_core.language_models import BaseChatModel

from agent.llm.breaker import Breaker

_SHARE = 0.6  # of the time that is left, for an attempt that is not the last
_INVALID, _NO_QUOTA = 400, 429


@dataclass(frozen=True)
class ModelCandidate:
    """A model that may be asked."""

    model: BaseChatModel
    name: str
    breaker: Breaker


class RetryPlan:
    """Iterate over it: (candidate, seconds to its first token). Say which `failed`. `left`: who may still be asked."""

    def __init__(self, candidates: Sequence[ModelCandidate], seconds: float, now: Callable[[], float]) -> None:
        self.left = [*candidates[:1], *candidates]
        self._ends = now() + seconds
        self._now = now

    def __iter__(self) -> Iterator[tuple[ModelCandidate, float]]:
        while self.left and self._now() < self._ends:
            candidate = self.left.pop(0)
            if candidate.breaker.allows(self._now()):
                yield candidate, (self._ends - self._now()) * (_SHARE if self.left else 1)
            else:
                self._skip(candidate)

    def failed(self, candidate: ModelCandidate, *, silent: bool, status: int | None) -> None:
        """A request that the model calls invalid is not held against it: it answers others."""
        if status != _INVALID:
            candidate.breaker.failed(self._now())
        if (silent or status == _NO_QUOTA) and any(other is not candidate for other in self.left):
            self._skip(candidate)

    def _skip(self, candidate: ModelCandidate) -> None:
        self.left = [other for other in self.left if other is not candidate]


def status_of(error: BaseException | None) -> int | None:
    """The HTTP status in an error, or in what caused it."""
    while error:
        for name in ("status_code", "code"):
            if isinstance(status := getattr(error, name, None), int):
                return status
        error = error.__cause__
    return None
