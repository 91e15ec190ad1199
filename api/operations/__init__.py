"""Running a server: uvicorn and its workers, connections, rate limits, logs, metrics, traces, health.

May import: settings. Open first: server.py. spans.py needs the extra `otel` and is imported only when traces are asked
for.
"""

from __future__ import annotations

from api.operations import server
from api.operations.health import health_router
from api.operations.local import is_local, is_loopback, was_passed_on
from api.operations.logs import TurnLines, configure_logging
from api.operations.metrics import Metrics, metrics_router
from api.operations.rate import Rate, network_of
from api.operations.recorder import Recorder, delete_run_file, run_file
from api.operations.unknown_paths import answer_unknown_paths
from api.operations.unverified import mark_verified
from api.operations.workers import serve

__all__ = [
    "Metrics",
    "Rate",
    "Recorder",
    "TurnLines",
    "answer_unknown_paths",
    "configure_logging",
    "delete_run_file",
    "health_router",
    "is_local",
    "is_loopback",
    "mark_verified",
    "metrics_router",
    "network_of",
    "run_file",
    "serve",
    "server",
    "was_passed_on",
]
