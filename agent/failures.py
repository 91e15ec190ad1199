"""How a failure is logged: its kind and its place. Its text may hold a secret or a caller's words, so that
is for the debug level alone, and never for the caller."""

from __future__ import annotations

import logging
import traceback
from types import TracebackType


class logged:
    """`with logged(log, "what failed"):` logs an exception of the block and goes on after it. A cancellation passes.

    failed: whether there was one.
    """

    failed = False

    def __init__(self, logger: logging.Logger, what: str, *, level: int = logging.ERROR) -> None:
        self._logger, self._what, self._level = logger, what, level

    def __enter__(self) -> logged:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self.failed = True
        log_failure(self._logger, self._what, error, level=self._level)
        return True


def log_failure(logger: logging.Logger, what: str, error: BaseException, *, level: int = logging.ERROR) -> None:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    code = getattr(error, "sqlite_errorname", None) or getattr(error, "sqlstate", None)
    logger.log(level, "%s: %s%s%s", what, type(error).__name__, f" {code}" if code else "", place)
    logger.debug("%s", what, exc_info=error)
