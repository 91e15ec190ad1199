"""How a failure is logged: its kind and its place. Its text may hold a secret or a caller's words, so that
is for the debug level alone, and never for the caller."""

from __future__ import annotations

import logging
import traceback


def log_failure(logger: logging.Logger, what: str, error: BaseException) -> None:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    code = getattr(error, "sqlite_errorname", None) or getattr(error, "sqlstate", None)
    logger.error("%s: %s%s%s", what, type(error).__name__, f" {code}" if code else "", place)
    logger.debug("%s", what, exc_info=error)
