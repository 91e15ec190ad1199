"""`GET /metrics`, for Prometheus: what there is to watch, counted as it happens.

Every application has a registry of its own. With several workers each counts for itself; where
PROMETHEUS_MULTIPROC_DIR names a folder that they share, whichever is asked answers for all of them.

Labels are few: models and tools are those that are configured, the rest are words from this code.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import Sequence

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.process_collector import ProcessCollector

from agent.llm import ModelCandidate
from agent.turns import ModelCall, Observer, ToolCallStatus, Turn
from api.operations.local import is_local, is_loopback, was_passed_on

_QUICK = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10)
_LONG = (0.1, 0.25, 0.5, 1, 2, 3, 5, 8, 13, 20, 30, 60, 120)


class Metrics(Observer):
    def __init__(self, candidates: Sequence[ModelCandidate]) -> None:
        self._candidates = candidates
        r = self._registry = CollectorRegistry()
        self._first_token = Histogram(
            "voice_first_token_seconds",
            "From asking the model to its first token",
            ["model"],
            buckets=_QUICK,
            registry=r,
        )
        self._first_words = Histogram(
            "voice_first_words_seconds", "From the webhook to the first words", ["kind"], buckets=_QUICK, registry=r
        )
        self._turn = Histogram(
            "voice_turn_seconds", "From the webhook to the stream's end", ["kind"], buckets=_LONG, registry=r
        )
        self._tool = Histogram("voice_tool_seconds", "A tool call", ["tool"], buckets=_LONG, registry=r)
        self._turns = Counter("voice_turns", "Turns that are over", ["kind", "outcome"], registry=r)
        self._tools = Counter("voice_tool_calls", "Tool calls that are over", ["tool", "ended"], registry=r)
        self._barge_ins = Counter("voice_barge_ins", "Turns that were interrupted", registry=r)
        self._duplicates = Counter("voice_duplicates", "Webhooks that came again", registry=r)
        self._repairs = Counter("voice_repairs", "Turns whose memory had to be mended for the model", registry=r)
        self._refused = Counter("voice_webhooks_refused", "Webhooks not taken", ["reason"], registry=r)
        self._failures = Counter("voice_model_failures", "Attempts without an answer", ["model", "reason"], registry=r)
        self._open = Gauge("voice_open_turns", "Turns now", multiprocess_mode="livesum", registry=r)
        self._running = Gauge("voice_running_tools", "Tool calls now", multiprocess_mode="livesum", registry=r)
        self._circuit = Gauge(
            "voice_model_circuit_open",
            "1 while a model is left alone",
            ["model"],
            multiprocess_mode="livemax",
            registry=r,
        )
        self._note_circuits()
        if not _shared():
            ProcessCollector(registry=r)

    def turn_began(self, turn: Turn) -> None:
        self._open.inc()

    def turn_over(self, turn: Turn) -> None:
        kind = turn.request.kind
        self._open.dec()
        self._turns.labels(kind, turn.outcome).inc()
        self._duplicates.inc(turn.joined + turn.repeated)
        self._barge_ins.inc(turn.interrupted)
        self._repairs.inc(turn.repaired)
        if not turn.repeated:
            self._turn.labels(kind).observe((turn.ended_ms or 0) / 1000)
            if turn.first_words_ms is not None:
                self._first_words.labels(kind).observe(turn.first_words_ms / 1000)
        for number, call in enumerate(turn.model_calls, 1):
            self._note_call(call, left_by_caller=turn.interrupted and number == len(turn.model_calls))
        self._note_circuits()

    def tool_began(self, turn: Turn, tool: ToolCallStatus) -> None:
        self._running.inc()

    def tool_over(self, turn: Turn, tool: ToolCallStatus) -> None:
        self._running.dec()
        self._tools.labels(tool.name, tool.ended).inc()
        self._tool.labels(tool.name).observe(tool.seconds or 0)

    def refused(self, reason: str) -> None:
        """A webhook was not taken."""
        self._refused.labels(reason).inc()

    def text(self) -> bytes:
        """As Prometheus reads them. Files are read for it, so it is not for the event loop."""
        self._note_circuits()
        if not _shared():
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def close(self) -> None:
        """This worker has no turns any more."""
        if _shared():
            mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]

    def _note_call(self, call: ModelCall, *, left_by_caller: bool) -> None:
        if call.chunks:
            self._first_token.labels(call.model).observe(call.chunks[0][0])
        if call.ended == "left" and not left_by_caller:
            self._failures.labels(call.model, "silent").inc()
        elif call.ended not in ("left", "complete"):
            self._failures.labels(call.model, "error").inc()
        elif call.ended == "complete" and not any(chunk.text or chunk.tool_call_chunks for _, chunk in call.chunks):
            self._failures.labels(call.model, "empty").inc()

    def _note_circuits(self) -> None:
        for candidate in self._candidates:
            self._circuit.labels(candidate.name).set(candidate.breaker.open)


def _shared() -> bool:
    return "PROMETHEUS_MULTIPROC_DIR" in os.environ


def metrics_router(metrics: Metrics, token: str | None) -> APIRouter:
    """The route. Without a token only this machine may ask; a request that a proxy has passed on is not its own."""
    router = APIRouter()

    @router.get("/metrics", response_class=PlainTextResponse, responses={403: {"description": "Not for you"}})
    async def scrape(request: Request) -> Response:
        if not _allowed(request, token):
            return PlainTextResponse("Only from this machine, or with METRICS_TOKEN as a bearer token.\n", 403)
        return Response(await asyncio.to_thread(metrics.text), media_type=CONTENT_TYPE_LATEST)

    return router


def _allowed(request: Request, token: str | None) -> bool:
    if token:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(given.encode(), token.encode())
    host = request.headers.get("host", "")
    here = request.client is not None and is_loopback(request.client.host)
    return here and is_local(host) and not was_passed_on(request.headers)
