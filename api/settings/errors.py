"""What keeps the process from starting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class NotConfigured(Exception):
    """The process must not start. `problems`: one sentence each, for the operator."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@contextmanager
def collected(problems: list[str]) -> Iterator[None]:
    """Add to `problems` what the block raises as NotConfigured, and go on after it."""
    try:
        yield
    except NotConfigured as error:
        problems += error.problems
