"""What an operator sees: the log, /metrics, traces. And what must not be seen in them."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from agent.turns import Observer, Observers, Turn, TurnRequest
from api.app import _tracing
from api.operations.logs import JsonLines, Lines
from api.settings import NotConfigured
from tests.support.backend import ROOT, Backend, backend, served, signed, stopped
from tests.support.gemini import Gemini, Json, Step, calls, error, responses, said, text
from tests.support.receiver import Receiver

TOOLS = '''
import asyncio
from agent import say, show, voice_tool

@voice_tool(say="Looking up {what}.", on_barge_in="cancel")
async def look_up(what: str) -> str:
    """Reads."""
    show({"page": "MARKSHOWN"})
    return f"MARKRESULT {what}"

@voice_tool
async def broken(what: str) -> str:
    """Fails, and leaves a task behind that fails too."""
    async def fail():
        raise ValueError("MARKLOST")
    asyncio.create_task(fail())
    await asyncio.sleep(0)
    raise RuntimeError(f"MARKERROR {what}")

@voice_tool
async def lengthy(what: str) -> str:
    """Outlives its turn."""
    await asyncio.sleep(0.5)
    return "MARKLATE"
'''
PHONE = "+14155550123"
PRIVATE = re.compile(r"MARK|415.?555|whsec_|test-key", re.IGNORECASE)


def answer(body: Json) -> Step:
    """`call TOOL`: calls it, then says so."""
    found = re.search(r"call (\w+)$", said(body))
    if found and not responses(body):
        return calls((found[1], {"what": "MARKARGUMENT"}))
    return text("MARKANSWER it is, as I said.", delay=0.05)


@pytest.fixture
def tools(tmp_path: Path, gemini: Gemini) -> Path:
    gemini.answer = answer
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "some.py").write_text(TOOLS)
    return folder


def environment(gemini: Gemini, tools: Path, name: str = "voice") -> dict[str, str]:
    return {
        "GOOGLE_API_KEY": "test-key", "GOOGLE_GEMINI_BASE_URL": gemini.url, "TOOLS_DIR": str(tools),
        "DATABASE_URL": f"sqlite:///{tools.parent}/{name}.db",
    }  # fmt: skip


@asynccontextmanager
async def running(gemini: Gemini, tools: Path, **settings: Any) -> AsyncIterator[Backend]:
    defaults: dict[str, Any] = {
        "google_api_key": "test-key", "google_gemini_base_url": gemini.url, "tools_dir": tools,
        "database_url": f"sqlite:///{tools.parent}/voice.db",
    }  # fmt: skip
    async with backend(**{**defaults, **settings}) as made:
        yield made


# The log


async def misbehave(server: Backend) -> None:
    """A little of everything that is logged."""
    caller = server.caller("conv_1")
    private: Json = {"from_phone_number": PHONE, "metadata": {"name": "MARKNAME"}}
    for words in ("MARKWORDS call look_up", "MARKWORDS call broken", "MARKWORDS call lengthy"):
        await caller.say(words, **private)
    cut = await caller.say("MARKWORDS go on", hang_up_after=1, **private)
    await caller.say("MARKWORDS", heard=(cut.turn_id, "MARKANSWER"), **private)
    url = f"{server.url}/api/agent"
    data = {"type": "data", "conversation_id": "conv_1", "turn_id": "t", "data": {"MARKDATA": PHONE}}
    ended = {"type": "session.end", "conversation_id": "conv_1", "transcript": [{"role": "user", "text": "MARK"}]}
    for request in (
        signed(data), signed(ended), signed(b"MARK not json"), signed(data, secret="whsec_other_one"),
        signed(data, at=time.time() - 4000), signed({"type": "message", "conversation_id": ["MARK"]}),
        signed({**data, "data": "MARK" * 20_000}),
    ):  # fmt: skip
        await server.http.post(url, **request)
    await server.http.post(f"{server.url}/api/authorize", json={"metadata": {"a": "MARK"}})


async def test_the_log_tells_what_happened_and_nothing_private(gemini: Gemini, tools: Path) -> None:
    async with served(**environment(gemini, tools)) as server:
        await misbehave(server)
        assert server.process
        status, output = await stopped(server.process)
    assert status == 0
    assert not PRIVATE.findall(output), [line for line in output.splitlines() if PRIVATE.search(line)]
    assert "signature stale (signed 400" in output
    assert "is its clock right?" in output
    assert "signature mismatch (is LAYERCODE_WEBHOOK_SECRET that of this agent" in output
    assert "tool broken failed: RuntimeError at " in output
    assert re.search(
        r"INFO voice: turn conversation=conv_1 turn=turn_1 kind=message outcome=answered first_token_ms=\d+"
        r" first_words_ms=\d+ model_calls=2 tools=look_up:\d+:finished ms=\d+$",
        output,
        re.MULTILINE,
    )


async def test_the_debug_level_logs_what_was_said_and_still_no_secret(gemini: Gemini, tools: Path) -> None:
    async with served(**environment(gemini, tools), LOG_LEVEL="debug") as server:
        await server.caller("conv_1").say("MARKWORDS call look_up", from_phone_number=PHONE)
        assert server.process
        _, output = await stopped(server.process)
    [line] = [line for line in output.splitlines() if "DEBUG voice: transcript" in line]
    assert 'conversation=conv_1 turn=turn_1 caller="MARKWORDS call look_up"' in line
    assert 'agent="Looking up MARKARGUMENT. MARKANSWER it is, as I said."' in line
    assert not re.findall(r"whsec_|test-key", output)


def record(message: str, **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord("x", logging.ERROR, "", 0, message, None, None)
    made.fields = fields
    try:
        raise ValueError("MARK")
    except ValueError:
        made.exc_info = sys.exc_info()
    return made


@pytest.mark.parametrize("form", [Lines, JsonLines])
def test_an_exceptions_text_is_for_the_debug_level(form: type[Lines]) -> None:
    failed = record("Task exception was never retrieved\nfuture: <Task exception=ValueError('MARK')>")
    assert "MARK" not in form().format(failed)
    assert "ValueError at " in form().format(failed)
    assert "MARK" in form(tell_all=True).format(failed)


def test_a_name_cannot_forge_a_line() -> None:
    line = Lines().format(record("turn", conversation="c1\n2026 INFO voice: turn outcome=fine", turn="t 1"))
    assert "\n" not in line
    assert 'conversation="c1\\n2026 INFO voice: turn outcome=fine" turn="t 1"' in line


async def test_an_observer_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    seen = []

    class Bad(Observer):
        def turn_over(self, turn: Turn) -> None:
            raise ValueError("MARK")

    class Good(Observer):
        def turn_over(self, turn: Turn) -> None:
            seen.append(turn)

    Observers([Bad(), Good()]).turn_over(Turn(TurnRequest("c", "t"), timeout=1))
    assert len(seen) == 1
    assert "Bad failed: ValueError" in caplog.text


# Metrics


async def metrics(server: Backend) -> dict[str, float]:
    response = await server.http.get(f"{server.url}/metrics")
    assert response.status_code == 200
    lines = (line for line in response.text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def test_metrics_count_what_happened(gemini: Gemini, tools: Path) -> None:
    async with running(gemini, tools) as server:
        await misbehave(server)
        caller = server.caller("conv_2")
        await asyncio.gather(*(caller.say("Hello?", turn="same") for _ in range(2)))
        assert server.agent
        while server.agent.open_turns:  # it is being journalled
            await asyncio.sleep(0.01)
        await caller.say("Hello?", turn="same")
        gemini.script(error(503), error(503))
        await caller.say("Hello?")
        await server.agent.drain(5)
        seen = await metrics(server)
    assert seen['voice_turns_total{kind="message",outcome="answered"}'] == 5
    assert seen['voice_turns_total{kind="message",outcome="interrupted"}'] == 1
    assert seen['voice_turns_total{kind="message",outcome="repeated"}'] == 1
    assert seen['voice_turns_total{kind="message",outcome="failed"}'] == 1
    assert (seen["voice_barge_ins_total"], seen["voice_duplicates_total"], seen["voice_repairs_total"]) == (1, 2, 0)
    assert (seen["voice_open_turns"], seen["voice_running_tools"]) == (0, 0)
    assert seen['voice_tool_calls_total{ended="finished",tool="look_up"}'] == 1
    assert seen['voice_tool_calls_total{ended="failed",tool="broken"}'] == 1
    assert seen['voice_tool_seconds_sum{tool="lengthy"}'] >= 0.5
    assert seen['voice_model_failures_total{model="gemini-3.5-flash-lite",reason="error"}'] == 2
    assert seen['voice_model_circuit_open{model="gemini-3.5-flash-lite"}'] == 0
    assert seen['voice_webhooks_refused_total{reason="signature stale"}'] == 1
    assert seen['voice_webhooks_refused_total{reason="too large"}'] == 1
    assert seen['voice_webhooks_refused_total{reason="not understood"}'] == 2
    assert seen['voice_first_words_seconds_count{kind="message"}'] == 7
    assert seen['voice_first_token_seconds_count{model="gemini-3.5-flash-lite"}'] == 9
    assert not [name for name in seen if PRIVATE.search(name)]


async def test_a_memory_that_had_to_be_mended_is_counted(gemini: Gemini, tools: Path) -> None:
    """A tool call without a result in the checkpoint: no turn leaves one, so it is put there."""
    asked = AIMessage("", id="t0/0", tool_calls=[{"name": "look_up", "args": {}, "id": "x"}])
    async with running(gemini, tools) as server:
        assert server.agent
        state: Any = {"messages": [HumanMessage("Hi"), asked]}
        thread: Any = {"configurable": {"thread_id": "c1"}}
        await server.agent._conversations.graph.aupdate_state(thread, state, as_node="greet")
        assert (await server.caller("c1").say("Hello?")).ended_once
        await server.agent.drain(5)
        assert (await metrics(server))["voice_repairs_total"] == 1
    gemini.violations.clear()  # it has no signature


async def test_metrics_are_for_this_machine_or_who_has_the_token(gemini: Gemini, tools: Path) -> None:
    async def status(server: Backend, **headers: str) -> int:
        return int((await server.http.get(f"{server.url}/metrics", headers=headers)).status_code)

    async with running(gemini, tools) as server:
        assert await status(server) == 200
        assert await status(server, **{"X-Forwarded-For": "203.0.113.1"}) == 403
        assert await status(server, **{"X-Forwarded-For": "127.0.0.1"}) == 403
    async with running(gemini, tools, metrics_token="sesame") as server:
        assert await status(server) == 403
        assert await status(server, Authorization="Bearer wrong") == 403
        assert await status(server, Authorization="Bearer sesame", **{"X-Forwarded-For": "203.0.113.1"}) == 200


def test_workers_that_share_a_folder_answer_for_each_other(tmp_path: Path) -> None:
    """The second worker's answer has what the first counted, its present turns only while it lives."""
    code = (
        "from api.operations.metrics import Metrics; from unittest.mock import Mock; made = Metrics([]);"
        " made.refused('busy'); made.turn_began(Mock()); print(made.text().decode()); made.close()"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    said = [
        subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60, check=True)
        for _ in range(2)
    ]
    assert 'voice_webhooks_refused_total{reason="busy"} 1.0' in said[0].stdout
    assert 'voice_webhooks_refused_total{reason="busy"} 2.0' in said[1].stdout
    assert "voice_open_turns 1.0" in said[1].stdout


# Traces


def spans_in(receiver: Receiver) -> list[Any]:
    found = []
    for path, body in receiver.bodies:
        assert path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            found += [span for scope in resource.scope_spans for span in scope.spans]
    return sorted(found, key=lambda span: (span.start_time_unix_nano, span.name != "invoke_agent"))


def attributes(span: Any) -> Json:
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


@pytest.mark.parametrize("content", ["", "true"])
async def test_a_turn_is_a_trace_after_the_conventions(
    gemini: Gemini, tools: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", content)
    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        async with running(gemini, tools) as server:
            began = time.time_ns()
            await server.caller("conv_1").say("MARKWORDS call look_up", from_phone_number=PHONE)
            ended = time.time_ns()
        spans = spans_in(receiver)
    assert [span.name for span in spans] == [
        "invoke_agent", "chat gemini-3.5-flash-lite", "execute_tool look_up", "chat gemini-3.5-flash-lite",
    ]  # fmt: skip
    turn, first, tool, _ = spans
    assert {span.trace_id for span in spans} == {turn.trace_id}
    assert {span.parent_span_id for span in spans[1:]} == {turn.span_id}
    slack = 20_000_000
    assert began - slack < turn.start_time_unix_nano < tool.start_time_unix_nano
    assert tool.end_time_unix_nano < turn.end_time_unix_nano < ended + slack
    about = attributes(first)
    assert about["gen_ai.operation.name"] == "chat"
    assert about["gen_ai.provider.name"] == "gcp.gemini"
    assert about["gen_ai.request.model"] == "gemini-3.5-flash-lite"
    assert about["gen_ai.conversation.id"] == "conv_1"
    assert about["gen_ai.usage.input_tokens"] > 0
    assert attributes(tool)["gen_ai.tool.name"] == "look_up"
    everything = str(spans)
    assert "4155550123" not in everything
    assert bool(re.search("MARKWORDS", everything)) is bool(content)
    assert bool(re.search("MARKANSWER", everything)) is bool(content)
    if content:
        [question] = [m for m in json.loads(about["gen_ai.input.messages"]) if m["role"] == "user"]
        assert question["parts"] == [{"type": "text", "content": "MARKWORDS call look_up"}]


async def test_a_tool_that_outlives_its_turn_is_in_its_trace(
    gemini: Gemini, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        async with running(gemini, tools) as server:
            await server.caller().say("call lengthy", hang_up_after=1)
            assert server.agent
            await server.agent.drain(5)
        spans = spans_in(receiver)
    [turn] = [span for span in spans if span.name == "invoke_agent"]
    [tool] = [span for span in spans if span.name == "execute_tool lengthy"]
    assert tool.parent_span_id == turn.span_id
    assert tool.end_time_unix_nano > turn.end_time_unix_nano


async def test_a_turn_is_in_the_trace_that_its_request_names(
    gemini: Gemini, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W3C's `traceparent`: trace, parent, sampled. One that is not sampled is sent nowhere; without one a trace
    begins."""
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    body: Json = {"type": "message", "session_id": "s", "conversation_id": "c", "text": "Hello?"}
    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        async with running(gemini, tools) as server:
            for turn, header in (("t1", f"00-{trace}-{parent}-01"), ("t2", f"00-{trace}-{parent}-00"), ("t3", "")):
                request = signed({**body, "turn_id": turn})
                request["headers"] |= {"traceparent": header} if header else {}
                await server.http.post(f"{server.url}/api/agent", **request)
        spans = [span for span in spans_in(receiver) if span.name == "invoke_agent"]
    named, own = spans
    assert (named.trace_id.hex(), named.parent_span_id.hex()) == (trace, parent)
    assert own.trace_id.hex() != trace
    assert not own.parent_span_id


async def test_an_endpoint_that_does_not_answer_costs_nobody_anything(
    gemini: Gemini, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    async with running(gemini, tools) as server:
        assert (await server.caller().say("Hello?")).ended_once
        began = time.monotonic()
    assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_SERVICE_NAME": "x"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_unless_it_is_asked_for_nothing_of_it_is_loaded(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    monkeypatch.setitem(sys.modules, "api.operations.spans", None)  # importing it would raise
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert _tracing() is None


async def test_without_the_extra_the_start_says_what_to_install(
    gemini: Gemini, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "api.operations.spans", None)
    with pytest.raises(NotConfigured, match="uv sync --extra otel"):
        async with running(gemini, tools):
            pass


async def test_langsmith_gets_the_runs_of_a_turn_by_its_own_variables(gemini: Gemini, tools: Path) -> None:
    with Receiver() as receiver:
        tracing = {"LANGSMITH_TRACING": "true", "LANGSMITH_ENDPOINT": receiver.url, "LANGSMITH_API_KEY": "x"}
        tracing["LOG_FORMAT"] = "json"
        async with served(**environment(gemini, tools), **tracing) as server:
            assert (await server.caller().say("MARKWORDS call look_up")).ended_once
            async with asyncio.timeout(20):
                while not all(word in str(receiver.bodies) for word in ("think", "look_up", "MARKWORDS")):
                    await asyncio.sleep(0.1)
            assert server.process
            _, output = await stopped(server.process)
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    [turn] = [line for line in lines if line["message"] == "turn"]
    assert turn["outcome"] == "answered"
    assert [(tool["tool"], tool["ended"]) for tool in turn["tools"]] == [("look_up", "finished")]
