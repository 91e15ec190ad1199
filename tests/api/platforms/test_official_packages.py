"""The platforms' official packages as the other side: they read what we send, and we what they do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from elevenlabs.speech_engine.session import SpeechEngineSession
from tac.models.handoff import PendingHandoffData
from tac.models.voice import ConversationRelayCallbackPayload, InterruptMessage, PromptMessage, SetupMessage

from api.platforms.conversation_relay import frames
from tests.api.platforms.speech_engine.test_speech_engine import engine
from tests.support.backend import Backend, backend
from tests.support.gemini import Gemini, text
from tests.support.phone import phone, signature
from tests.support.platforms import platform_settings

WORDS = "It is sunny."


@pytest.fixture
async def server(gemini: Gemini, tmp_path: Path) -> AsyncIterator[Backend]:
    async with backend(**platform_settings(gemini, tmp_path)) as server:
        yield server


def test_the_frames_of_twilios_package_are_read() -> None:
    """Every field that it knows, and none at all."""
    setup = SetupMessage(
        sessionId="VX1", callSid="CA1", **{"from": "+493012345678"}, to="+1", customParameters={"tenant": "acme"}
    )
    read = frames.parse(setup.model_dump_json(by_alias=True))
    assert isinstance(read, frames.Setup)
    assert (read.call, read.session, read.from_) == ("CA1", "VX1", "+493012345678")
    assert read.parameters == {"tenant": "acme"}
    prompt = frames.parse(PromptMessage(voicePrompt="Hello", lang="de-DE", last=False).model_dump_json(by_alias=True))
    assert isinstance(prompt, frames.Prompt)
    assert (prompt.text, prompt.lang, prompt.last) == ("Hello", "de-DE", False)
    cut = InterruptMessage(utteranceUntilInterrupt="It is", durationUntilInterruptMs=460)
    interrupt = frames.parse(cut.model_dump_json(by_alias=True))
    assert isinstance(interrupt, frames.Interrupt)
    assert interrupt.heard == "It is"
    for empty in (SetupMessage(), PromptMessage(), InterruptMessage()):
        assert frames.parse(empty.model_dump_json(by_alias=True)) is not None


def test_a_transfer_is_read_by_twilios_package() -> None:
    handoff = {"transfer": "+493012345678", "reason": "a bill"}
    assert json.loads(PendingHandoffData.model_validate_json(frames.end(handoff)).handoff_data) == handoff


async def test_the_callback_of_twilios_package_is_answered(server: Backend) -> None:
    """What its model holds of a relay's end, sent as Twilio does: signed, as a form."""
    told = {
        "AccountSid": "AC1", "CallSid": "CA1", "CallStatus": "completed", "From": "+493012345678", "To": "+1",
        "Direction": "inbound", "SessionId": "VX1", "SessionStatus": "ended", "SessionDuration": "12",
    }  # fmt: skip
    payload = ConversationRelayCallbackPayload.model_validate(told)
    fields = {name: value for name, value in payload.model_dump(by_alias=True).items() if value is not None}
    url = f"{server.url}/twilio/ended"
    answer = await server.http.post(url, data=fields, headers=signature(url, fields))
    assert answer.status_code == 200
    assert "<Hangup" in answer.text


async def test_our_relay_frames_are_those_of_twilios_package(server: Backend, gemini: Gemini) -> None:
    """Its channel sends `{"type": "text", "token", "last"}` and nothing more, and ends an answer with an empty one."""
    gemini.script(text(WORDS))
    async with phone(server.url) as caller:
        await caller.answer()
        await caller.say("The weather?")
        assert await caller.answer() == WORDS
        sent = [frame for _, frame in caller.frames]
    assert all(frame.keys() == {"type", "token", "last"} for frame in sent)
    assert sent[-1] == {"type": "text", "token": "", "last": True}


class _Wire:
    """A socket for ElevenLabs' own server side: it gets these frames."""

    def __init__(self, *received: dict[str, Any]) -> None:
        self._received = [json.dumps(frame) for frame in received]
        self.sent: list[dict[str, Any]] = []
        self.answered = asyncio.Event()

    async def recv(self) -> str:
        if not self._received:
            await self.answered.wait()
            return json.dumps({"type": "close"})
        return self._received.pop(0)

    async def send(self, data: str) -> None:
        self.sent.append(json.loads(data))
        if self.sent[-1].get("is_final"):
            self.answered.set()

    async def close(self) -> None:
        self.answered.set()


async def test_we_answer_on_the_wire_as_elevenlabs_own_server_does(server: Backend, gemini: Gemini) -> None:
    """The same frames in give frames of the same shape and words."""
    gemini.script(text(WORDS))
    asked = {"type": "user_transcript", "event_id": 7, "user_transcript": [{"role": "user", "content": "The weather?"}]}
    theirs = _Wire({"type": "init", "conversation_id": "conv_1"}, {"type": "ping"}, asked)
    session = SpeechEngineSession(theirs)

    async def respond(*_: Any) -> None:
        async def words() -> AsyncIterator[str]:
            for word in ("It ", "is ", "sunny."):
                yield word

        await session.send_response(words())

    session.on("user_transcript", respond)
    async with asyncio.timeout(10):
        await session.run()
    ours: list[dict[str, Any]] = []
    async with engine(server) as socket:
        await socket.send(json.dumps({"type": "ping"}))
        await socket.send(json.dumps(asked))
        async with asyncio.timeout(20):
            while not (ours and ours[-1].get("is_final")):
                ours.append(json.loads(await socket.recv()))
    for sent in (theirs.sent, ours):
        assert sent[0] == {"type": "pong"}
        answers = sent[1:]
        assert "".join(frame["content"] for frame in answers) == WORDS
        assert [frame["is_final"] for frame in answers] == [False] * (len(answers) - 1) + [True]
    assert {tuple(sorted(frame)) for frame in ours} == {tuple(sorted(frame)) for frame in theirs.sent}
    assert {frame.get("event_id") for frame in ours} == {frame.get("event_id") for frame in theirs.sent}
