"""A conversation on each platform, recorded over real sockets, replays on its own wire, in virtual time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from agent.replay import differences
from agent.replay import run_file as runs
from api.platforms import CLIENTS, CallDetails, PlatformClient, open_client, over_sockets, words_of
from api.platforms.conversation_relay import RelayClient
from api.replay.player import barge_in_everywhere, replay
from api.settings import Settings
from tests.support.backend import Backend
from tests.support.conversation import quiet
from tests.support.gemini import Gemini, Step, calls, error, text
from tests.support.recordings import TOOLS, project, recorded, replayed, write_tools

SECRET = SecretStr("0f1e2d3c4b5a69788796a5b4c3d2e1f0")
LONG = "It is fourteen degrees in Paris. Tomorrow it gets up to seventeen degrees, with some rain."
ENDS = '''
from agent import hang_up, transfer, voice_tool

@voice_tool(needs="hang_up")
async def goodbye() -> str:
    """End the call."""
    hang_up("done")
    return "The call ends."

@voice_tool(needs="transfer")
async def hand_over() -> str:
    """Transfer the call."""
    transfer("+493012345678", "wants a person")
    return "The call is transferred."
'''
Play = Callable[[PlatformClient], Awaitable[None]]


async def greeted(client: PlatformClient) -> None:
    await client.begin()
    if client.abilities.may_speak_first:
        await client.answer()


async def words_until(client: PlatformClient, least: int) -> None:
    """So many words of the newest answer."""
    came = 0
    while came < least:
        event = await client.event()
        came += len(event.content.split()) if event.kind == "say" and event.answer == client.answers else 0


async def says(client: PlatformClient) -> None:
    """Words, a tool with a progress line, a question before an action, and its yes."""
    await greeted(client)
    for words in ("Hi", "The weather?", "Book", "Yes"):
        await client.say(words)
        await client.answer()


async def interrupts(client: PlatformClient) -> None:
    """While the answer is made: it is cut; a fragment is reported."""
    await greeted(client)
    await client.say("The weather in Paris?")
    await words_until(client, 4)
    await client.interrupt("It is fourteen")
    await client.say("Stop")
    await client.answer()


async def speaks_without_a_report(client: PlatformClient) -> None:
    """The next words come while the answer is made, and nothing is told of what was heard."""
    await greeted(client)
    await client.say("The weather in Paris?")
    await words_until(client, 4)
    await client.say("Stop")
    await client.answer()


async def interrupts_what_is_played(client: PlatformClient) -> None:
    """After the answer was made."""
    await greeted(client)
    await client.say("The weather in Paris?")
    await client.answer()
    await client.interrupt("It is fourteen degrees in Paris. Tomorrow")
    await asyncio.sleep(0.1)
    await client.say("Thanks")
    await client.answer()


async def interrupts_a_tool(client: PlatformClient) -> None:
    await greeted(client)
    await client.say("The weather?")
    await words_until(client, 1)
    await client.interrupt("Checking")
    await client.say("Stop")
    await client.answer()


async def repeats(client: PlatformClient) -> None:
    """The same again while it is answered; on a phone, the socket is opened again for it."""
    await greeted(client)
    await client.say("The weather in Paris?")
    await words_until(client, 3)
    await client.duplicate()
    await client.answer()
    await client.say("Thanks")
    await client.answer()


async def presses(client: PlatformClient) -> None:
    await greeted(client)
    await client.press("12#")
    await client.answer()
    await client.press("34")
    await client.answer()


async def is_hung_up_on(client: PlatformClient) -> None:
    """A goodbye is heard, then the server leaves."""
    await greeted(client)
    await client.say("Bye")
    came = await client.answer()
    while came[-1].kind != ("closed" if client.abilities.dtmf_in else "end"):
        came.append(await client.event())
    assert "Goodbye" in words_of(came)


async def speaks_into_the_goodbye(client: PlatformClient) -> None:
    """It is not hung up on, and then hangs up."""
    await greeted(client)
    await client.say("Bye")
    await client.answer()
    await client.interrupt("Good")


SLOW = text(LONG, delay=0.03)
YES = text("Yes?")
SCENES: dict[str, tuple[Play, tuple[Step, ...]]] = {
    "words, tools and a question": (
        says,
        (
            text("Hello."), calls(("weather", {"city": "Rome"})), text("Sunny."), calls(("book", {"people": 4})),
            calls(("confirm", {"yes": True})), text("Booked."),
        ),
    ),
    "an interruption": (interrupts, (SLOW, YES)),
    "words into an answer": (speaks_without_a_report, (SLOW, YES)),
    "an interruption of what is played": (interrupts_what_is_played, (text(LONG), YES)),
    "an interruption of a tool": (interrupts_a_tool, (calls(("weather", {"city": "Rome", "seconds": 0.5})), YES)),
    "a duplicate": (repeats, (SLOW, YES)),
    "keys": (presses, (YES, text("And?"))),
    "a goodbye": (is_hung_up_on, (calls(("goodbye", {}), text="Goodbye."),)),
    "a transfer": (is_hung_up_on, (calls(("hand_over", {}), text="Goodbye."),)),
    "a goodbye that is interrupted": (speaks_into_the_goodbye, (calls(("goodbye", {}), text="Goodbye."),)),
}  # fmt: skip
ONLY = {
    "keys": {"relay"},
    "a goodbye": {"relay", "completions"},
    "a transfer": {"relay", "completions"},
    "a goodbye that is interrupted": {"relay"},
}
CASES = [(platform, scene) for platform in CLIENTS for scene in SCENES if platform in ONLY.get(scene, CLIENTS)]


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    return write_tools(tmp_path / "tools", TOOLS + ENDS)


Record = Callable[..., Awaitable[runs.RunFile]]


@pytest.fixture
def record(start: Any, gemini: Gemini, tools: Path, tmp_path: Path) -> Record:
    """`await record("relay", play, *steps)`: hold a conversation over real sockets, and make its run file."""

    async def made(platform: str, play: Play, *steps: Step, welcome: str = "Good evening.") -> runs.RunFile:
        gemini.script(*steps)
        more: dict[str, Any] = {"tools_dir": tools, "welcome_message": welcome}
        secrets: dict[str, Any] = {CLIENTS[platform].secret: SECRET}
        server: Backend = await start(**{"layercode_webhook_secret": SecretStr(""), **secrets}, **more)
        async with calling(platform, server, secrets) as client, asyncio.timeout(30):
            await play(client)
            await quiet(server)
            await client.hang_up()
        await asyncio.sleep(0.1)
        return await recorded(server, "call-1", database_url=f"sqlite:///{tmp_path}/voice.db", **more)

    return made


@asynccontextmanager
async def calling(platform: str, server: Backend, secrets: dict[str, Any]) -> AsyncIterator[PlatformClient]:
    details = CallDetails("call-1", "+493012345678", {"vip": True})
    settings = Settings.model_construct(**secrets)
    async with over_sockets(server.url) as network, open_client(platform, network, settings, details) as client:
        yield client


@pytest.mark.parametrize(("platform", "scene"), CASES)
async def test_what_was_recorded_replays(record: Record, tools: Path, platform: str, scene: str) -> None:
    """What was sent then is sent now; a second replay gives the very same file; numbers are gone from it."""
    play, steps = SCENES[scene]
    anew = [SLOW] if (platform, scene) == ("relay", "a duplicate") else []  # an answer ends with its socket
    run = await record(platform, play, *anew, *steps)
    against = project(tools, welcome="Good evening.")
    came = await asyncio.to_thread(replayed, run, against)
    assert differences(run, came.run) == []
    assert "3012345678" not in runs.dump_run(run)
    has_frames = any(way == "out" for turn in run.turns for _, way, _ in turn.frames)
    assert has_frames == (platform != "layercode")


async def test_a_caller_who_speaks_before_the_silent_welcome_is_over(record: Record, tools: Path) -> None:
    """The last frame of the welcome was being sent when it was interrupted, and is read nevertheless."""

    async def speaks_at_once(client: PlatformClient) -> None:
        await client.begin()
        await client.say("The weather in Paris?")
        await words_until(client, 4)

    run = await record("relay", speaks_at_once, SLOW, welcome="")
    came = await asyncio.to_thread(replayed, run, project(tools))
    assert differences(run, came.run) == []
    assert run.turns[0].hung_up


@pytest.mark.parametrize("platform", ["relay", "speech-engine", "completions"])
async def test_hanging_up_everywhere(record: Record, tools: Path, platform: str) -> None:
    """`voice replay --barge-in everywhere` holds on each platform."""
    play, steps = SCENES["words, tools and a question"]
    run = await record(platform, play, *steps)
    against = project(tools, welcome="Good evening.")
    places = await asyncio.to_thread(lambda: list(barge_in_everywhere(run, against)))
    assert len(places) > 12
    assert {label: faults for label, faults in places if faults} == {}


async def test_a_call_that_is_transferred_ends_on_the_wire(record: Record, tools: Path) -> None:
    """The frames are in the file: `end` with what the callback gets back, once the words were played; then `<Dial>`."""
    play, steps = SCENES["a transfer"]
    run = await record("relay", play, *steps)
    frames = run.turns[-1].frames
    played = next(ms for ms, _, frame in frames if isinstance(frame, dict) and frame.get("token") == "Goodbye.")
    at, end = next((ms, frame) for ms, _, frame in frames if isinstance(frame, dict) and frame.get("type") == "end")
    assert json.loads(end["handoffData"])["reason"] == "wants a person"
    assert at - played >= 500, "eight characters take half a second"
    assert "<Dial>+000000000000</Dial>" in frames[-1][2]


async def test_a_goodbye_that_is_interrupted_is_not_carried_out_in_a_replay(record: Record) -> None:
    """What the caller did after the last turn is in the file too."""
    play, steps = SCENES["a goodbye that is interrupted"]
    run = await record("relay", play, *steps)
    kinds = [frame.get("type") for _, _, frame in run.turns[-1].frames if isinstance(frame, dict)]
    assert "interrupt" in kinds
    assert "end" not in kinds


async def test_a_call_in_german_replays_in_german(record: Record, tools: Path) -> None:
    """The language of each prompt is in the file; the call began in none that is known."""

    async def asks(client: PlatformClient) -> None:
        assert isinstance(client, RelayClient)
        await greeted(client)
        client.language = "de-DE"
        await client.say("?")
        await client.answer()

    run = await record("relay", asks, error(503), error(503))
    assert [turn.webhook.get("language") for turn in run.turns] == [None, "de-DE"]
    assert "Entschuldigung" in words_said(run.turns[1])
    came = await asyncio.to_thread(replayed, run, project(tools, welcome="Good evening."))
    assert differences(run, came.run) == []


def words_said(turn: runs.RecordedTurn) -> str:
    return "".join(content for _, kind, content in turn.sent if kind == "say")


async def test_another_frame_is_noticed(record: Record, tools: Path) -> None:
    """A file whose frames are not those that come now differs, in a sentence."""
    play, steps = SCENES["an interruption"]
    run = await record("relay", play, *steps)
    other = run.model_copy(deep=True)
    other.turns[1].frames = [frame for frame in other.turns[1].frames if frame[1] == "in"]
    came = await asyncio.to_thread(replay, other, project(tools, welcome="Good evening."))
    assert [found.cause for found in differences(other, came.run)] == ["Turn 2: the platform got other frames."]


def test_a_file_of_an_unknown_platform_is_refused(tools: Path) -> None:
    run = runs.RunFile(platform="Carrier pigeon")
    with pytest.raises(runs.RunFileError, match="Carrier pigeon"):
        replay(run, project(tools))
