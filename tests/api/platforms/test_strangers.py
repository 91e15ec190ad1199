"""What comes from others on each platform's routes and sockets: malformed, unknown, huge, too much, unsigned."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from api.platforms.abilities import COMPLETIONS, LAYERCODE, RELAY, SPEECH_ENGINE
from api.platforms.conversation_relay import frames as relay_frames
from api.platforms.registry import PLATFORMS
from api.platforms.sockets import BadFrame
from api.platforms.speech_engine import frames as engine_frames
from tests.api.platforms.speech_engine.test_speech_engine import answer, engine, say
from tests.support.backend import ROOT, Backend, backend
from tests.support.gemini import Gemini, text
from tests.support.phone import phone, signature
from tests.support.platforms import COMPLETIONS_KEY, platform_settings

BAD = ["", "[]", "{", "null", '{"type": 5}', '{"type": "prompt", "last": []}', '{"type": "hologram"}', "[" * 50_000]


@pytest.fixture
async def server(gemini: Gemini, tmp_path: Path) -> AsyncIterator[Backend]:
    async with backend(**platform_settings(gemini, tmp_path)) as server:
        yield server
        assert server.agent
        async with asyncio.timeout(5):
            while server.agent.open_turns:
                await asyncio.sleep(0.02)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
TYPES = ["setup", "prompt", "interrupt", "dtmf", "info", "error", "init", "user_transcript", "ping", "close", "x"]
NAMES = [
    "callSid", "sessionId", "from", "customParameters", "voicePrompt", "lang", "last", "utteranceUntilInterrupt",
    "durationUntilInterruptMs", "digit", "name", "value", "event_id", "user_transcript", "conversation_id", "message",
]  # fmt: skip
FRAMES = st.builds(
    lambda kind, fields: {**fields, "type": kind}, st.sampled_from(TYPES), st.dictionaries(st.sampled_from(NAMES), JSON)
)


@given(st.one_of(FRAMES.map(json.dumps), JSON.map(json.dumps), st.text(max_size=40)))
def test_any_frame_is_read_or_refused(data: str) -> None:
    """Never an error of another kind; and no value of the frame is in the refusal."""
    for parse in (relay_frames.parse, engine_frames.parse):
        refused = ""
        try:
            frame = parse(data)
        except BadFrame as bad:
            refused = str(bad)
        if refused:
            assert refused.replace(": ", ", ").split(", ")[0] in ("not JSON", "no type", *TYPES)
        elif isinstance(frame, engine_frames.Transcript):
            assert isinstance(frame.text + frame.heard, str)


@pytest.mark.parametrize("parse", [relay_frames.parse, engine_frames.parse])
@pytest.mark.parametrize("kind", ["setup", "prompt", "interrupt", "dtmf", "init", "user_transcript"])
def test_no_half_of_a_surrogate_pair_is_left_in_a_frame(parse: Any, kind: str) -> None:
    """It could not be stored: the caller heard the apology, or the socket was closed without a word."""
    half, pair = "a\ud83d", "\U0001f600"
    lines = [{"role": "user", "content": half}]
    fields: dict[str, Any] = dict.fromkeys(NAMES, half) | {
        "type": kind, "customParameters": {half: [half, pair]}, "event_id": 1, "user_transcript": lines
    }  # fmt: skip
    frame = parse(json.dumps(fields))
    if frame is not None:
        frame.model_dump_json().encode()
        assert "\ud83d" not in str(frame.model_dump())
    if kind == "setup" and isinstance(frame, relay_frames.Setup):
        assert frame.parameters == {"a\ufffd": ["a\ufffd", pair]}


async def test_a_call_with_half_of_a_surrogate_pair_is_answered(server: Backend, gemini: Gemini) -> None:
    gemini.script(text("All right."))
    async with phone(server.url, call="CA_half") as caller:
        await caller.answer()
        await caller.say("yes \ud83d")
        assert await caller.answer() == "All right."


async def test_a_call_goes_on_after_frames_that_make_no_sense(server: Backend, gemini: Gemini) -> None:
    gemini.script(text("Yes."), text("It is sunny."))
    async with phone(server.url) as caller:
        await caller.answer()
        for frame in BAD:
            await caller.socket.send(frame)
        await caller.socket.send(b"\x00\xff")
        await caller.send(type="setup", callSid="another")
        await caller.say("Hello")
        assert await caller.answer() == "Yes."
    async with engine(server) as socket:
        for frame in BAD:
            await socket.send(frame)
        await socket.send(b"\x00\xff")
        await say(socket, 1, "The weather?")
        assert await answer(socket, 1) == "It is sunny."


@pytest.mark.parametrize("frame", [*BAD, '{"type": "prompt", "voicePrompt": "Hi"}', '{"type": "setup"}'])
async def test_a_socket_that_does_not_begin_as_it_should_is_closed(server: Backend, frame: str) -> None:
    """Unknown types are passed over: then nothing comes, and there is nothing to wait for here."""
    url = server.url.replace("http", "ws", 1) + "/twilio/relay"
    async with connect(url, additional_headers=signature(url)) as socket:
        for _ in range(25):
            await socket.send(frame)
        if "hologram" not in frame:
            with pytest.raises(ConnectionClosed):
                async with asyncio.timeout(5):
                    await socket.recv()


async def too_much(socket: ClientConnection, what: str) -> None:
    """Until the socket is closed. A ping is of a known type on one wire only, and does nothing on either."""
    for _ in range(2_000 if what == "flood" else 30):
        match what:
            case "flood":
                await socket.send('{"type": "info", "name": "clientSpeaking", "value": "on"}')
                await socket.send('{"type": "ping"}')
            case "nonsense":
                await socket.send("{")
            case _:
                await socket.send("x" * (2 * 1024 * 1024))
    while True:
        async with asyncio.timeout(10):
            await socket.recv()


@pytest.mark.parametrize("what", ["flood", "nonsense", "huge"])
async def test_a_peer_that_sends_too_much_is_cut_off_and_others_go_on(
    server: Backend, gemini: Gemini, what: str
) -> None:
    gemini.script(text("Yes."))
    async with phone(server.url) as other:
        await other.answer()
        async with phone(server.url) as caller:
            await caller.answer()
            with pytest.raises(ConnectionClosed):
                await too_much(caller.socket, what)
        async with engine(server, conversation="e1") as socket:
            with pytest.raises(ConnectionClosed):
                await too_much(socket, what)
        await other.say("Still there?")
        assert await other.answer() == "Yes."


async def test_strangers_are_refused_everywhere(server: Backend) -> None:
    """Wrong tokens on each route and socket, and none at all."""
    wrong = signature(f"{server.url}/twilio/voice", {}, token="another")
    for path in ("/twilio/voice", "/twilio/ended", "/telnyx/voice/wrong", "/telnyx/ended/wrong"):
        for headers in ({}, wrong):
            assert (await server.http.post(f"{server.url}{path}", data={"a": "b"}, headers=headers)).status_code == 403
    for key in ("", "Bearer", "Bearer wrong", COMPLETIONS_KEY, "Basic eDp5"):
        headers = {"Authorization": key}
        assert (await server.http.get(f"{server.url}/v1/models", headers=headers)).status_code == 401
        made = await server.http.post(f"{server.url}/v1/chat/completions", json={"messages": []}, headers=headers)
        assert made.status_code == 401
    sockets = server.url.replace("http", "ws", 1)
    for path in ("/twilio/relay", "/telnyx/relay/wrong", "/elevenlabs/speech-engine"):
        for headers in ({}, wrong):
            with pytest.raises(InvalidStatus):
                async with connect(f"{sockets}{path}", additional_headers=headers):
                    pass


# Twilio's own validator

VECTORS = [
    (
        "https://mycompany.com/myapp.php?foo=1&bar=2",
        {
            "CallSid": "CA1234567890ABCDE", "Caller": "+14158675309", "Digits": "1234", "From": "+14158675309",
            "To": "+18005551212",
        },
        "RSOYDt4T1cUTdK1PDd93/VVr8B8=",
    ),
    ("wss://example.com/ws", {}, "HXrgvHt0qTHu33oSxSjpOvWtO60="),
]  # fmt: skip


@pytest.mark.parametrize(("url", "fields", "expected"), VECTORS)
def test_the_vectors_of_twilios_signature(url: str, fields: dict[str, str], expected: str) -> None:
    assert RequestValidator("12345").compute_signature(url, fields) == expected
    assert RequestValidator("12345").validate(url, fields, expected)


PUBLIC = "voice.example.com"


@pytest.mark.parametrize("told", ["setting", "headers", "several proxies"])
async def test_what_is_signed_is_the_public_url(gemini: Gemini, tmp_path: Path, told: str) -> None:
    """https and wss outside, http within; the URL within is not one that is signed."""
    proxies = {"headers": ("https", PUBLIC), "several proxies": ("https, http", f"{PUBLIC}, inner:80")}
    proto, host = proxies.get(told, ("", ""))
    headers = {"X-Forwarded-Proto": proto, "X-Forwarded-Host": host} if proto else {}
    more: dict[str, Any] = {"public_url": f"https://{PUBLIC}/"} if told == "setting" else {}
    fields = {"CallSid": "CA1", "From": "+493012345678"}
    async with backend(**platform_settings(gemini, tmp_path, **more)) as server:
        voice, relay = f"{server.url}/twilio/voice", server.url.replace("http", "ws", 1) + "/twilio/relay"
        signed = signature(f"https://{PUBLIC}/twilio/voice", fields)
        answered = await server.http.post(voice, data=fields, headers={**headers, **signed})
        assert answered.status_code == 200
        assert f'url="wss://{PUBLIC}/twilio/relay"' in answered.text
        for url in (voice, f"http://{PUBLIC}/twilio/voice", f"https://{PUBLIC}/twilio/ended"):
            refused = await server.http.post(voice, data=fields, headers={**headers, **signature(url, fields)})
            assert refused.status_code == 403
        async with connect(relay, additional_headers={**headers, **signature(f"wss://{PUBLIC}/twilio/relay")}):
            pass
        for url in (relay, f"https://{PUBLIC}/twilio/relay", f"ws://{PUBLIC}/twilio/relay"):
            with pytest.raises(InvalidStatus):
                async with connect(relay, additional_headers={**headers, **signature(url)}):
                    pass


# What platforms can


def test_what_the_documentation_says_of_each_platform_is_what_it_can() -> None:
    lines = (ROOT / "docs" / "platforms.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    documented = {row[2].strip("`"): row for row in rows if len(row) == 5 and row[2].startswith("`")}
    heard = {"exact": "reported, all of it", "fragment": "reported, as a fragment", "derived": "repeats it"}
    assert set(documented) == {platform.secret.upper() for platform in PLATFORMS}
    for platform in PLATFORMS:
        _, _, _, told, controls = documented[platform.secret.upper()]
        assert heard[platform.abilities.heard] in told, platform.name
        can = {"hang_up", "transfer", "send_dtmf"} == platform.abilities.controls
        assert controls == ("no" if not can else "what the client's tools can" if "client" in controls else "yes")
    assert [platform.abilities for platform in PLATFORMS] == [LAYERCODE, RELAY, RELAY, SPEECH_ENGINE, COMPLETIONS]
