"""The webhook's edges: who may call it, what it understands, and each kind of event."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from api.operations.logs import Lines
from api.platforms.layercode import signature
from tests.support.backend import SECRET, Backend, signed
from tests.support.conversation import results_in
from tests.support.gemini import Gemini, calls, text

MESSAGE = {"type": "message", "conversation_id": "c1", "session_id": "s1", "turn_id": "t1", "text": "Hello"}

WHO = """
from agent import tool_context, voice_tool

@voice_tool
async def who() -> str:
    \"\"\"Who calls.\"\"\"
    return "{tenant}, seat {seat}".format(**tool_context().metadata)
"""


async def post(backend: Backend, **request: Any) -> Any:
    return await backend.http.post(f"{backend.url}/api/agent", **request)


@pytest.mark.parametrize(
    "header",
    [None, "", "t=1,v1=aa", "nonsense", "t=1760000000,v1=é", "v1=aa,t=1", "t=" + "9" * 5000 + ",v1=aa"],
)
async def test_a_request_that_is_not_signed_is_refused(start: Any, header: str | None) -> None:
    headers = {} if header is None else {signature.HEADER: header.encode("latin-1", "replace")}
    response = await post(await start(), content=json.dumps(MESSAGE).encode(), headers=headers)
    assert response.status_code == 401
    assert response.json() == {"error": "The signature is missing or wrong."}


@pytest.mark.parametrize("age", [-302, 302])
async def test_a_stale_signature_is_refused(start: Any, age: int) -> None:
    response = await post(await start(), **signed(MESSAGE, at=time.time() - age))
    assert response.status_code == 401


async def test_another_secret_is_refused_before_anything_is_parsed(start: Any) -> None:
    response = await post(await start(), **signed(b"not json", secret="whsec_another"))
    assert response.status_code == 401


async def test_the_body_is_limited_to_one_mebibyte(start: Any, gemini: Gemini) -> None:
    gemini.script(text("Long."))
    backend = await start()
    assert (await post(backend, **signed({**MESSAGE, "text": "x" * 1024 * 1024}))).status_code == 413
    assert (await post(backend, **signed({**MESSAGE, "pad": "x" * 900_000}))).status_code == 200


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"{", "JSON"),
        (b"[]", "object"),
        (b"\xff", "UTF-8"),
        ({k: v for k, v in MESSAGE.items() if k != "turn_id"}, "turn_id"),
        ({k: v for k, v in MESSAGE.items() if k != "conversation_id"}, "conversation_id"),
        ({k: v for k, v in MESSAGE.items() if k != "text"}, "text"),
        ({**MESSAGE, "text": ["a secret"]}, "text"),
    ],
)
async def test_a_bad_body_is_explained_by_the_fields_name(start: Any, body: Any, named: str) -> None:
    response = await post(await start(), **signed(body))
    assert response.status_code == 400
    assert named in response.json()["error"]
    assert "a secret" not in response.text


async def test_an_unknown_type_is_accepted_and_ignored(start: Any) -> None:
    response = await post(await start(), **signed({"type": "session.dance", "conversation_id": "c1"}))
    assert response.status_code == 200


async def test_a_message_of_generation_one_is_a_turn_of_the_stable_session(start: Any, gemini: Gemini) -> None:
    gemini.script(text("Hi."), text("Again."))
    backend = await start()
    for turn, connection in (("t1", "x1"), ("t2", "x2")):
        body = {"type": "MESSAGE", "text": "Hello", "session_id": "st", "connection_id": connection, "turn_id": turn}
        assert (await post(backend, **signed(body))).status_code == 200
    assert len(gemini.requests[1].body["contents"]) == 3


@pytest.mark.parametrize("kind", ["session.start", "welcome", "SESSION_START"])
async def test_a_new_session_is_welcomed_and_the_model_knows_it(start: Any, gemini: Gemini, kind: str) -> None:
    gemini.script(text("As I said."))
    caller = (await start(welcome_message="Welcome to Chez Voice.")).caller()
    reply = await caller.say(None, type=kind)
    assert reply.text == "Welcome to Chez Voice."
    assert reply.ended_once
    await caller.say("What?")
    assert gemini.requests[0].body["contents"][1]["parts"] == [{"text": "Welcome to Chez Voice."}]


async def test_without_a_welcome_the_stream_only_ends(start: Any) -> None:
    reply = await (await start()).caller().say(None, type="session.start")
    assert reply.types == ["response.end"]


async def test_a_start_without_a_turn_id_is_answered_without_one(start: Any) -> None:
    response = await post(await start(welcome_message="Hi."), **signed({"type": "welcome", "conversation_id": "c1"}))
    assert response.text == ('data: {"type":"response.tts","content":"Hi."}\n\ndata: {"type":"response.end"}\n\n')
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["cache-control"] == "no-cache, no-transform"


async def test_a_resumed_conversation_is_not_greeted_as_a_stranger(start: Any, gemini: Gemini) -> None:
    gemini.script(text("Hi Ada."), text("You are Ada."))
    caller = (await start(welcome_message="Welcome!")).caller()
    await caller.say(None, type="session.start")
    await caller.say("I am Ada.")
    resumed = await caller.say(None, type="session.start", session_id="s2")
    assert resumed.text == "Welcome back. What can I do for you?"
    await caller.say("Who am I?", session_id="s2")
    assert "I am Ada." in str(gemini.requests[1].body)


async def test_data_is_answered_with_json_and_known_in_the_next_turn_once(start: Any, gemini: Gemini) -> None:
    gemini.script(text("Two in the cart."), text("Yes."))
    backend = await start()
    caller = backend.caller("c1")
    for sku in ("A-17", "B-3", "A-17"):
        body = {"type": "data", "conversation_id": "c1", "turn_id": "t0", "data": {"add_to_cart": sku}}
        response = await post(backend, **signed(body))
        assert (response.status_code, response.json()) == (200, {})
    await caller.say("What is in my cart?")
    shown = gemini.requests[0].body["contents"][-1]["parts"][0]["text"]
    assert shown == (
        '⟦system: The caller\'s page sent this data: {"add_to_cart":"A-17"}⟧\n'
        '⟦system: The caller\'s page sent this data: {"add_to_cart":"B-3"}⟧\n'
        "What is in my cart?"
    )
    await caller.say("Sure?")
    assert gemini.requests[1].body["contents"][-1]["parts"] == [{"text": "Sure?"}]


async def test_data_does_not_disturb_a_running_turn(start: Any, gemini: Gemini) -> None:
    gemini.script(text("one two three four", delay=0.1), text("Seen."))
    backend = await start()
    caller = backend.caller("c1")
    talking = asyncio.create_task(caller.say("Count"))
    await asyncio.sleep(0.15)
    body = {"type": "data", "conversation_id": "c1", "turn_id": "turn_1", "data": {"click": 1}}
    assert (await post(backend, **signed(body))).status_code == 200
    assert (await talking).text == "one two three four"
    await caller.say("And?")
    assert '{"click":1}' in gemini.requests[1].body["contents"][-1]["parts"][0]["text"]


async def test_the_end_of_a_session_is_kept_with_transcript_and_metrics(start: Any) -> None:
    backend = await start()
    ended = {
        "type": "session.end", "conversation_id": "c1", "session_id": "s1", "agent_id": "a", "duration": 1800.5,
        "latency": None, "transcript": [{"role": "user", "text": "Hello", "timestamp": 1}],
    }  # fmt: skip
    updated = {"type": "session.update", "conversation_id": "c1", "session_id": "s1", "recording_status": "completed"}
    for body in (ended, ended, updated):
        assert (await post(backend, **signed(body))).status_code == 200
    rows = await backend.agent._journal._database.fetch("SELECT kind, body FROM notes ORDER BY kind")
    assert [kind for kind, _ in rows] == ["ended", "updated"]
    assert json.loads(rows[0][1])["transcript"] == [{"role": "user", "text": "Hello", "timestamp": 1.0}]
    assert json.loads(rows[0][1])["duration"] == 1800.5


async def test_a_blank_message_is_not_a_question(start: Any, gemini: Gemini) -> None:
    reply = await (await start()).caller().say("  ")
    assert reply.types == ["response.end"]
    assert not gemini.requests


async def test_nothing_private_is_logged_at_the_default_level(
    start: Any, gemini: Gemini, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    gemini.script(text("Noted."))
    backend = await start()
    await backend.caller().say("My PIN is 4711", from_phone_number="+14155550123", custom_metadata={"k": "vip"})
    await backend.agent.drain(2)  # the line is written when the journal is, after the stream
    ours = [Lines().format(r) for r in caplog.records if r.name.startswith(("agent", "api", "voice"))]
    assert any("outcome=answered" in line for line in ours)
    for private in ("4711", "4155550123", "vip", "Noted", SECRET, "test-key"):
        assert private not in "\n".join(ours)


async def test_health_says_live_and_ready(start: Any) -> None:
    backend = await start()
    assert (await backend.http.get(f"{backend.url}/livez")).status_code == 200
    assert (await backend.http.get(f"{backend.url}/readyz")).status_code == 200


async def test_only_the_named_origins_may_authorize_from_a_browser(start: Any) -> None:
    backend = await start(cors_origins="https://shop.example, https://app.example")
    for origin, allowed in (("https://app.example", True), ("https://evil.example", False)):
        response = await backend.http.options(
            f"{backend.url}/api/authorize",
            headers={"Origin": origin, "Access-Control-Request-Method": "POST"},
        )
        assert ("access-control-allow-origin" in response.headers) is allowed


async def test_a_tool_sees_both_kinds_of_metadata_as_one(start: Any, gemini: Gemini, tmp_path: Path) -> None:
    """`custom_metadata`, which the agent's configuration may have set, wins over the page's `metadata`."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "who.py").write_text(WHO)
    gemini.script(calls(("who", {})), text("I see."))
    own = {"metadata": {"tenant": "page", "seat": 4}, "custom_metadata": {"tenant": "acme"}}
    backend = await start(tools_dir=tmp_path / "tools")
    await backend.caller().say("Who am I?", **own)
    [(_, told)] = results_in(gemini.requests[-1].body)
    assert told == "acme, seat 4"
