"""Each platform's client, which plays its part in a call: in this process in virtual time, and over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from agent.config import AgentConfig
from agent.llm import Models
from agent.replay import ScriptedModel, run_in_virtual_time
from agent.replay import run_file as runs
from agent.tooling import ToolFolder
from agent.turns import Observer, Turn
from api.platforms import (
    CLIENTS,
    CallDetails,
    PlatformClient,
    Unreachable,
    Unsupported,
    in_process,
    open_client,
    over_sockets,
    words_of,
)
from api.replay import settings_for, temporary_application
from api.settings import Settings
from api.testing import TOOLS, call, scripted_model
from api.wiring import AgentParts
from tests.support.backend import Backend
from tests.support.gemini import Gemini, text

SECRET = SecretStr("0f1e2d3c4b5a69788796a5b4c3d2e1f0")
LONG = "One two three four five six seven eight nine ten."
NEXT = "Here I am."
GREETING = "Good evening."
HEARD = "One two three"


class _Turns(Observer):
    """The turns that are over."""

    def __init__(self) -> None:
        self.over: list[Turn] = []

    def turn_over(self, turn: Turn) -> None:
        self.over.append(turn)


Scene = Callable[[PlatformClient, _Turns], Awaitable[None]]


def slow(words: str, ms: int = 200) -> runs.RecordedModelCall:
    """An answer with a word every so many ms."""
    return runs.RecordedModelCall(chunks=[[n * ms, f" {word}" if n else word] for n, word in enumerate(words.split())])


def play(platform: str, scene: Scene, model: ScriptedModel) -> None:
    """In virtual time, in this process."""

    async def played() -> None:
        settings, turns = settings_for(platform), _Turns()
        folder = ToolFolder(TOOLS)
        folder.load()
        parts = AgentParts(folder, Models(model, first_token=60), AgentConfig(welcome=GREETING))
        async with (
            asyncio.timeout(60),
            temporary_application(parts, settings=settings, observers=[turns]) as (app, agent, _),
            in_process(app) as network,
            open_client(platform, network, settings, CallDetails("call-1", "+493012345678", {"vip": True})) as client,
        ):
            await scene(client, turns)
            await client.drop()
            await agent.drain(5)

    run_in_virtual_time(played())
    assert not model.script
    assert not model.asked_too_often


async def greeted(client: PlatformClient) -> None:
    await client.begin()
    if client.abilities.may_speak_first:
        assert words_of(await client.answer()).strip() == GREETING


@pytest.mark.parametrize("platform", CLIENTS)
def test_a_call_is_greeted_and_answered(platform: str) -> None:
    """The words come as they are made, and each answer ends once."""

    async def scene(client: PlatformClient, turns: _Turns) -> None:
        await greeted(client)
        await client.say("Hello")
        came = await client.answer()
        assert words_of(came) == LONG
        assert [event.kind for event in came].count("end") == 1
        said = [event.at for event in came if event.kind == "say"]
        assert 1.7 < said[-1] - said[0] < 1.9, "nine pauses of 200 ms, in virtual time"
        await client.say("And?")
        assert words_of(await client.answer()) == NEXT
        request = turns.over[-1].request
        assert (request.conversation_id, request.text) == ("call-1", "And?")
        if platform != "speech-engine":
            assert request.caller == "+493012345678"
            assert request.metadata["vip"] is True

    play(platform, scene, scripted_model_of(slow(LONG), NEXT))


def scripted_model_of(*answers: Any) -> ScriptedModel:
    model = scripted_model()
    for answer in answers:
        model.script += [answer] if isinstance(answer, runs.RecordedModelCall) else scripted_model(answer).script
    return model


@pytest.mark.parametrize("platform", CLIENTS)
def test_an_interruption_ends_the_answer_and_is_reported(platform: str) -> None:
    """The turn is interrupted at once, and the next request tells what was heard, as the platform does."""

    async def scene(client: PlatformClient, turns: _Turns) -> None:
        await greeted(client)
        await client.say("Count")
        words = ""
        while len(words.split()) < 4:
            words += (await client.event()).content
        await client.interrupt(HEARD)
        came = await client.answer()
        assert [(event.kind, event.content) for event in came][-1] == ("end", "cut")
        await client.say("Stop")
        assert words_of(await client.answer()) == NEXT
        await asyncio.sleep(1)
        cut, after = turns.over[-2:]
        assert cut.interrupted
        assert len(cut.spoken.split()) in (4, 5)
        heard = after.request.heard
        assert heard
        assert (heard.text, heard.kind) == (HEARD, client.abilities.heard)

    play(platform, scene, scripted_model_of(slow(LONG), NEXT))


@pytest.mark.parametrize("platform", CLIENTS)
def test_a_duplicate_gets_the_same_answer(platform: str) -> None:
    """While it runs, and after it; the model is asked once. A phone's socket is opened again for it: the caller hears a
    whole answer."""

    async def scene(client: PlatformClient, turns: _Turns) -> None:
        await greeted(client)
        await client.say("Count")
        await client.event()
        await client.duplicate()
        assert words_of(await client.answer()).endswith(LONG)
        if platform != "relay":  # there an answer ends with its socket, and the same words are answered anew
            await client.duplicate()
            assert words_of(await client.answer()) == LONG

    answers = [slow(LONG)] if platform != "relay" else [slow(LONG), slow(LONG)]
    play(platform, scene, scripted_model_of(*answers))


@pytest.mark.parametrize("platform", CLIENTS)
def test_what_is_not_read_is_not_sent(platform: str) -> None:
    """`reads` stops the reading: of a turn that is interrupted then, only what was read counts as sent."""

    async def scene(client: PlatformClient, turns: _Turns) -> None:
        await greeted(client)
        client.reads = 3
        await client.say("Count")
        await asyncio.sleep(1)
        await client.interrupt()
        assert len(words_of(await client.answer()).split()) == 3
        client.reads = None
        await client.say("And?")
        assert words_of(await client.answer()) == NEXT
        assert turns.over[-2].spoken.strip() == "One two three"

    play(platform, scene, scripted_model_of(slow(LONG), NEXT))


@pytest.mark.parametrize("platform", ["relay", "completions"])
def test_the_agent_hangs_up(platform: str) -> None:
    """What a tool wants done to the call comes as an event, after the words."""

    async def scene(client: PlatformClient, turns: _Turns) -> None:
        await greeted(client)
        await client.say("That is all, bye")
        came = await client.answer()
        while came[-1].kind == "end" and "control" not in [event.kind for event in came]:
            came.append(await client.event())
        kinds = [event.kind for event in came]
        assert "say" in kinds[: kinds.index("control")]
        assert next(event.content for event in came if event.kind == "control")["action"] == "hang_up"
        if platform == "relay":
            assert (await client.event()).kind == "closed"
            assert "<Hangup" in client.twiml  # type: ignore[attr-defined]

    ending = scripted_model(call("end_call", reason="done")).script[0]
    said = runs.RecordedModelCall(chunks=[[0, "Goodbye."], *ending.chunks])
    play(platform, scene, scripted_model_of(said))


def test_a_cut_answer_has_its_last_frame_however_early_it_is_cut() -> None:
    """An interruption right behind the words: the answer to them ends with one `last`, and the next one is heard."""

    async def scene(client: PlatformClient, turns: _Turns) -> None:
        await greeted(client)
        await client.say("Count")
        await client.interrupt("")
        await client.say("Stop")
        assert words_of(await client.answer()) == NEXT
        lasts = [frame for _, way, frame in client.wire if way == "out" and "last" in frame and frame["last"]]
        assert len(lasts) == 3

    play("relay", scene, scripted_model_of(NEXT))


def test_keys_are_pressed_where_there_are_some() -> None:
    async def scene(client: PlatformClient, turns: _Turns) -> None:
        await greeted(client)
        await client.press("12#")
        assert words_of(await client.answer()) == NEXT
        await client.press("34")
        assert words_of(await client.answer()) == NEXT
        assert [turn.request.text for turn in turns.over[-2:]] == ["pressed 1 2 #", "pressed 3 4"]

    play("relay", scene, scripted_model_of(NEXT, NEXT))


@pytest.mark.parametrize("platform", ["layercode", "speech-engine", "completions"])
def test_what_a_platform_cannot_do_is_said(platform: str) -> None:
    async def scene(client: PlatformClient, turns: _Turns) -> None:
        with pytest.raises(Unsupported):
            await client.press("1")
        if platform != "layercode":
            with pytest.raises(Unsupported):
                await client.send_data({})

    play(platform, scene, scripted_model())


@pytest.mark.parametrize("platform", CLIENTS)
def test_the_same_scene_twice_is_the_same_on_the_wire(platform: str) -> None:
    """Byte for byte, times included, but for what is random by its nature."""
    wires = []

    async def scene(client: PlatformClient, turns: _Turns) -> None:
        began = asyncio.get_running_loop().time()
        await greeted(client)
        await client.say("Count")
        await client.event()
        await asyncio.sleep(0.5)
        await client.interrupt("One")
        await client.say("Stop")
        await client.answer()
        wires.append([(at - began, way, _fixed(frame)) for at, way, frame in client.wire])

    for _ in range(2):
        play(platform, scene, scripted_model_of(slow(LONG), NEXT))
    assert wires[0] == wires[1]
    assert len(wires[0]) > 4


def _fixed(frame: Any) -> Any:
    if isinstance(frame, dict) and "object" in frame:
        return {**frame, "id": "", "created": 0}
    return frame


# Over sockets


@asynccontextmanager
async def calling(platform: str, server: Backend, settings: Settings) -> AsyncIterator[PlatformClient]:
    async with (
        over_sockets(server.url) as network,
        open_client(platform, network, settings, CallDetails("call-1")) as client,
    ):
        yield client


@pytest.mark.parametrize("platform", CLIENTS)
async def test_over_real_sockets(start: Any, gemini: Gemini, platform: str) -> None:
    """A question, an interruption, another question; the server's log has no complaint about the client's frames."""
    gemini.script(text(LONG, delay=0.05), text(NEXT))
    secrets: dict[str, Any] = {"layercode_webhook_secret": SecretStr(""), CLIENTS[platform].secret: SECRET}
    server = await start(**secrets, welcome_message=GREETING)
    async with asyncio.timeout(30), calling(platform, server, Settings.model_construct(**secrets)) as client:
        await greeted(client)
        await client.say("Count")
        assert (await client.event()).kind == "say"
        await client.interrupt("One")
        await client.answer()
        await client.say("Stop")
        assert words_of(await client.answer()) == NEXT
        await client.hang_up()
    shown = json.dumps(gemini.requests[-1].body["contents"])
    assert '"One' in shown
    assert "ten." not in shown


@pytest.mark.parametrize("platform", ["layercode", "completions"])
async def test_a_request_to_no_server(platform: str) -> None:
    """The answer has failed, which is told in a sentence."""
    async with nobody(platform) as client:
        await client.begin()
        assert [event.kind for event in await client.answer()] == ["failed"]


@pytest.mark.parametrize("platform", ["relay", "speech-engine"])
async def test_a_socket_to_no_server(platform: str) -> None:
    """It cannot be opened."""
    async with nobody(platform) as client:
        with pytest.raises(Unreachable, match=r"opened|gives no TwiML"):
            await client.begin()


@asynccontextmanager
async def nobody(platform: str) -> AsyncIterator[PlatformClient]:
    secrets: dict[str, Any] = {CLIENTS[platform].secret: SECRET}
    settings = Settings.model_construct(**secrets)
    async with (
        asyncio.timeout(10),
        over_sockets("http://127.0.0.1:9") as network,
        open_client(platform, network, settings, CallDetails("c")) as client,
    ):
        yield client
