"""OpenTelemetry: a span for every turn, with one for each model call and tool call in it (the extra `otel`).

Names and attributes are those of the semantic conventions for generative AI. The spans are made once the turn is
over, with the times it took: nothing here stands between a caller and an answer. What was said is in them only if
OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true. A request that belongs to a trace (`traceparent`) gives its
turn a place in that trace.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import extract
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from agent.turns import ModelCall, Observer, ToolCallStatus, Turn, compact

_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_PROVIDERS = {"google_genai": "gcp.gemini", "google_vertexai": "gcp.vertex_ai"}
_PATIENCE = 2000  # ms that the last spans have at the end


class IncomingTrace:
    """ASGI middleware: the trace that a request, or a socket, says it belongs to is current while it is answered, and
    so in the tasks of the turns that it begins."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        token = attach(extract(dict(Headers(scope=scope))))
        try:
            await self._app(scope, receive, send)
        finally:
            detach(token)
        return None


class Spans(Observer):
    middleware: ClassVar = IncomingTrace

    def __init__(self, exporter: SpanExporter | None = None) -> None:
        """Service, endpoint, headers, sampling and the rest come from the OTEL_* variables."""
        exporter = exporter or (
            ConsoleSpanExporter() if os.environ.get("OTEL_TRACES_EXPORTER") == "console" else OTLPSpanExporter()
        )
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("voice-agent-backend")
        self._content = os.environ.get(_CONTENT, "").lower() == "true"
        self._over: WeakKeyDictionary[Turn, Context] = WeakKeyDictionary()

    def turn_over(self, turn: Turn) -> None:
        root = self._begin("invoke_agent", None, SpanKind.SERVER, turn, turn.began)
        root.set_attribute("voice.turn.kind", turn.request.kind)
        root.set_attribute("voice.turn.outcome", turn.outcome)
        if turn.first_words_ms is not None:
            root.add_event("first words", timestamp=_clock(turn, turn.began + turn.first_words_ms / 1000))
        if self._content:
            _set_messages(root, {"input": [{"caller": turn.request.text}], "output": [{"agent": turn.spoken}]})
        self._over[turn] = parent = set_span_in_context(root)
        for call in turn.model_calls:
            self._model_call(turn, call, parent)
        for tool in turn.tools:
            if tool.seconds is not None:
                self._tool(turn, tool, parent)
        _end(root, turn, turn.began + (turn.ended_ms or 0) / 1000, "failed" if turn.failed else None)

    def tool_over(self, turn: Turn, tool: ToolCallStatus) -> None:
        if turn in self._over:
            self._tool(turn, tool, self._over[turn])

    async def close(self) -> None:
        """Send what is left."""
        await asyncio.to_thread(self._provider.force_flush, _PATIENCE)
        await asyncio.to_thread(self._provider.shutdown)

    def _model_call(self, turn: Turn, call: ModelCall, parent: Context) -> None:
        began = turn.began + call.began
        span = self._begin("chat", call.model, SpanKind.CLIENT, turn, began, parent)
        span.set_attribute("gen_ai.request.model", call.model)
        span.set_attribute("gen_ai.output.type", "text")
        for _, chunk in call.chunks:
            about = chunk.response_metadata
            if provider := about.get("model_provider"):
                span.set_attribute("gen_ai.provider.name", _PROVIDERS.get(provider, provider))
            if model := about.get("model_name"):
                span.set_attribute("gen_ai.response.model", model)
        for kind, used in zip(("input", "output"), call.tokens, strict=True):
            if used:
                span.set_attribute(f"gen_ai.usage.{kind}_tokens", used)
        if call.chunks:
            span.add_event("first token", timestamp=_clock(turn, began + call.chunks[0][0]))
        if self._content:
            answer = "".join(chunk.text for _, chunk in call.chunks)
            _set_messages(span, {"input": compact(call.messages), "output": [{"agent": answer}]})
        wrong = None if call.ended == "complete" or (call.ended == "left" and turn.interrupted) else call.ended
        _end(span, turn, began + call.seconds, "timeout" if wrong == "left" else wrong)

    def _tool(self, turn: Turn, tool: ToolCallStatus, parent: Context) -> None:
        span = self._begin("execute_tool", tool.name, SpanKind.INTERNAL, turn, tool.began, parent)
        span.set_attribute("gen_ai.tool.name", tool.name)
        span.set_attribute("gen_ai.tool.type", "function")
        if self._content:
            span.set_attribute("gen_ai.tool.call.arguments", json.dumps(tool.arguments, default=str))
        wrong = None if tool.ended in ("finished", "stopped") else tool.ended
        _end(span, turn, tool.began + (tool.seconds or 0), wrong)

    def _begin(
        self, operation: str, what: str | None, kind: SpanKind, turn: Turn, at: float, parent: Context | None = None
    ) -> Span:
        about = {"gen_ai.operation.name": operation, "gen_ai.conversation.id": turn.request.conversation_id}
        name = f"{operation} {what}" if what else operation
        return self._tracer.start_span(
            name, parent or get_current(), kind, attributes=about, start_time=_clock(turn, at)
        )


def _clock(turn: Turn, at: float) -> int:
    """A time of the event loop, in nanoseconds since 1970."""
    return time.time_ns() - round((turn.now() - at) * 1e9)


def _end(span: Span, turn: Turn, at: float, wrong: str | None) -> None:
    if wrong:
        span.set_attribute("error.type", wrong)
        span.set_status(Status(StatusCode.ERROR))
    span.end(_clock(turn, at))


def _set_messages(span: Span, sides: Mapping[str, list[dict[str, Any]]]) -> None:
    for side, messages in sides.items():
        span.set_attribute(f"gen_ai.{side}.messages", json.dumps([_message(m) for m in messages], ensure_ascii=False))


def _message(compact: dict[str, Any]) -> dict[str, Any]:
    """As the conventions have it: a role and its parts."""
    if "tool" in compact:
        return {"role": "tool", "parts": [{"type": "tool_call_response", "response": compact["result"]}]}
    role, text = ("user", compact["caller"]) if "caller" in compact else ("assistant", compact["agent"])
    calls = [{"type": "tool_call", **call} for call in compact.get("calls", ())]
    return {"role": role, "parts": [{"type": "text", "content": text}, *calls]}
