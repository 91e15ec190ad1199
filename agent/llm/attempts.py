"""Who is asked for an answer, in which order, and how long each has to begin.

The model twice, then its fallback. One that was silent, or has no quota left, is not asked again while there is a
fallback; one that refuses is not asked again at all, and one whose circuit is open neither. All attempts share one
time limit: a caller waits no longer because there were more of them. A circuit counts only what says that the service
is down: no connection, no answer in time, 408, 429 and 5xx.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from langchain_core.language_models import BaseChatModel

from agent.llm.breaker import Breaker

_SHARE = 0.6  # of the time that is left, for an attempt that is not the last
INVALID, NO_QUOTA = 400, 429
_TIMED_OUT = 408


@dataclass(frozen=True)
class ModelCandidate:
    """A model that may be asked. provider: its name in LangChain's messages."""

    model: BaseChatModel
    name: str
    breaker: Breaker
    provider: str = ""


class RetryPlan:
    """Iterate over it: (candidate, seconds to its first token). Say how each was `tried`. `left`: who may still be
    asked."""

    def __init__(self, candidates: Sequence[ModelCandidate], seconds: float, now: Callable[[], float]) -> None:
        self.left = [*candidates[:1], *candidates]
        self._seconds = seconds
        self._ends = now() + seconds
        self._now = now

    def __iter__(self) -> Iterator[tuple[ModelCandidate, float]]:
        while self.left and self._now() < self._ends:
            candidate = self.left.pop(0)
            if candidate.breaker.allows(self._now()):
                yield candidate, (self._ends - self._now()) * (_SHARE if self.left else 1)
            else:
                self._skip(candidate)

    def tried(
        self, candidate: ModelCandidate, *, down: bool | None = False, spent: bool = False, refuses: bool = False
    ) -> None:
        """How it went. down: the service does not work, for whomever; None if that is unknown. spent: there is no time
        for it, or no quota. refuses: it would say no again."""
        if down:
            candidate.breaker.failed(self._now())
        elif down is not None:
            candidate.breaker.succeeded()
        if refuses or (spent and any(other is not candidate for other in self.left)):
            self._skip(candidate)

    def restart(self) -> None:
        """The caller has heard something: what comes next has the whole time limit."""
        self._ends = self._now() + self._seconds

    def _skip(self, candidate: ModelCandidate) -> None:
        self.left = [other for other in self.left if other is not candidate]


def status_of(error: BaseException | None) -> int | None:
    """The HTTP status in an error, or in what caused it. None if the network failed: aiohttp has a status of its own
    for that."""
    for cause in _causes(error):
        if _is_of_network(cause):
            return None
        for name in ("status_code", "code"):
            if isinstance(status := getattr(cause, name, None), int):
                return status
    return None


def is_down(error: BaseException | None) -> bool:
    """Whether it says that the service does not work, and not that a request was wrong."""
    status = status_of(error)
    if status is None:
        return any(map(_is_of_network, _causes(error)))
    return status >= 500 or status in (_TIMED_OUT, NO_QUOTA)


def _is_of_network(error: BaseException) -> bool:
    """httpx's errors, and those of clients that hide them. By name: there are two httpx, and not every client is
    installed."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, OSError) or not names.isdisjoint(("TransportError", "APIConnectionError"))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__cause__
