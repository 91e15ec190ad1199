"""Crashes: a process is killed in the middle of several conversations, and another one takes over its database.

The killing is done once for all tests; each takes over a copy of what was left.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.storage.results import NOT_STARTED, SAME_CALL, STILL_RUNNING, UNKNOWN
from tests.support.backend import Backend, served
from tests.support.conversation import (
    Tools,
    answers_in,
    caller_said,
    offered,
    question,
    requests_for,
    results_in,
    steps_taken,
)
from tests.support.gemini import Answer, Failure, Gemini, calls, stall, text

SOUP = ("order", {"thing": "soup", "seconds": 60})


def model(body: dict[str, Any]) -> Answer | Failure:
    """Does what the caller asks for in words of one kind; else, or with a result, it says a sentence."""
    if steps_taken(body):
        return text("I do not know.")
    match question(body).split()[0]:
        case "soup":
            return calls(("fetch", {"city": "Rome"}), SOUP)
        case "twins":  # one action, written in two ways
            return calls(SOUP, ("order", {**SOUP[1], "seconds": "60"}))
        case "book":
            return calls(("book", {"people": 4, "time": "7 pm", "seconds": 60}))
        case "yes":
            return calls(("confirm", {"yes": True})) if "confirm" in offered(body) else text("There is no question.")
        case "count":
            return text("One two three four.")
        case "talk":
            return text("word " * 500, delay=0.05)
        case "think":
            return stall(60, text("late"))
        case "slowly":
            return text("a b c d e f g h", delay=0.05)
        case _:
            return text("I do not know.")


@dataclass
class Left:
    """What the killed process left."""

    gemini: Gemini
    folder: Path


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Left]:
    folder = tmp_path_factory.mktemp("left")
    with Gemini() as gemini:
        gemini.answer = model
        asyncio.run(_crash(gemini, folder))
        yield Left(gemini, folder)
        gemini.verify()


async def _crash(gemini: Gemini, folder: Path) -> None:
    deeds = Tools(folder / "deeds")
    env = {
        "GOOGLE_API_KEY": "test-key",
        "GOOGLE_GEMINI_BASE_URL": gemini.url,
        "DATABASE_URL": f"sqlite:///{folder}/voice.db",
        "TOOLS_DIR": str(deeds.folder),
        "FIRST_TOKEN_SECONDS": "60",
    }
    async with served(**env) as backend:
        await backend.caller("heard").say("count", turn="t0")
        await backend.caller("booked").say("book", turn="t0")
        said = {
            "tool": "soup",
            "twin": "twins",
            "late": "soup",
            "heard": "soup",
            "booked": "yes",
            "talking": "talk",
            "waiting": "think",
        }
        heard = {"heard": ("t0", "one two")}
        turns = {
            conversation: asyncio.create_task(
                backend.caller(conversation).say(words, turn="t1", heard=heard.get(conversation))
            )
            for conversation, words in said.items()
        }
        for conversation in ("tool", "twin", "late", "heard"):
            await deeds.until(conversation, "order began", seconds=10)
        await deeds.until("booked", "book began")
        turns["late"].cancel()
        await asyncio.sleep(1)
        assert backend.process
        backend.process.kill()
        await asyncio.gather(*turns.values(), return_exceptions=True)


@pytest.fixture
def deeds(left: Left, tmp_path: Path) -> Tools:
    shutil.copytree(left.folder, tmp_path, dirs_exist_ok=True)
    return Tools(tmp_path / "deeds")


@pytest.fixture
async def restarted(start: Any, left: Left, deeds: Tools) -> Backend:
    backend: Backend = await start(tools_dir=deeds.folder, google_gemini_base_url=left.gemini.url)
    return backend


async def test_the_twin_of_a_call_that_was_killed_is_not_said_to_be_not_started(
    restarted: Backend, left: Left, deeds: Tools
) -> None:
    """Nor when its arguments were written in another way: else the model would do it again."""
    await restarted.caller("twin").say("status")
    killed, twin = results_in(requests_for(left.gemini, "status")[-1].body)
    assert killed == ("order", UNKNOWN)
    assert twin == ("order", SAME_CALL)
    assert deeds.done("twin")["order began"] == 1


async def test_a_tool_that_was_killed_is_unknown_and_not_run_again(
    restarted: Backend, left: Left, deeds: Tools
) -> None:
    """The caller's words are there, each call is answered, and the conversation goes on."""
    caller = restarted.caller("tool")
    for words in ("is it coming", "really, is it"):
        reply = await caller.say(words, turn=words)
        assert reply.text == "I do not know."
        assert reply.ended_once
        body = requests_for(left.gemini, words)[0].body
        assert caller_said(body).count("soup") == 1
        assert results_in(body) == [("fetch", "Sunny in Rome."), ("order", UNKNOWN)]
    assert deeds.done("tool") == {"fetch began": 1, "fetch done": 1, "order began": 1}


async def test_the_webhook_that_crashed_is_answered_when_it_comes_again(
    restarted: Backend, left: Left, deeds: Tools
) -> None:
    """Ten of it are one turn, in which the tool is not run again; an eleventh comes from the journal."""
    before = len(left.gemini.requests)
    caller = restarted.caller("tool")
    replies = await asyncio.gather(*(caller.say("soup", turn="t1") for _ in range(10)))
    replies.append(await caller.say("soup", turn="t1"))
    assert {reply.text for reply in replies} == {"I do not know."}
    assert len({reply.raw for reply in replies}) == 1
    (request,) = left.gemini.requests[before:]
    assert results_in(request.body)[1] == ("order", UNKNOWN)
    assert caller_said(request.body) == "soup"
    assert deeds.done("tool")["order began"] == 1


async def test_the_webhook_that_crashed_does_not_interrupt_a_newer_one(restarted: Backend, left: Left) -> None:
    """The conversation has gone on: the duplicate gets its end, and nothing else."""
    caller = restarted.caller("tool")
    newer = asyncio.create_task(caller.say("slowly please", turn="t2"))
    async with asyncio.timeout(5):
        while not requests_for(left.gemini, "slowly please"):
            await asyncio.sleep(0.01)
    assert (await caller.say("soup", turn="t1")).types == ["response.end"]
    assert not newer.done()
    assert (await newer).text == "a b c d e f g h"
    assert (await caller.say("soup", turn="t1")).types == ["response.end"]
    await caller.say("after that", turn="t3")
    assert answers_in(requests_for(left.gemini, "after that")[0].body)[-1] == "a b c d e f g h"


async def test_a_tool_that_outlived_its_turn_and_was_killed_is_unknown(restarted: Backend, left: Left) -> None:
    """Its turn had ended in good order, with "still running": that is not true any more. It is said once."""
    caller = restarted.caller("late")
    for words in ("where is it", "where, then"):
        await caller.say(words, turn=words)
        body = requests_for(left.gemini, words)[0].body
        assert results_in(body)[1] == ("order", UNKNOWN)
        assert STILL_RUNNING not in str(body)
        assert "Finished meanwhile" not in caller_said(body)
        assert caller_said(body).count("⟦system: The system was restarted while this ran: order.") == 1


async def test_what_was_reported_as_heard_to_the_turn_that_crashed_is_not_forgotten(
    restarted: Backend, left: Left
) -> None:
    await restarted.caller("heard").say("go on", turn="t2")
    body = requests_for(left.gemini, "go on")[0].body
    assert answers_in(body)[0] == "One two"
    assert caller_said(body).startswith("count\nsoup\n")


async def test_a_confirmed_action_that_was_killed_cannot_be_confirmed_again(
    restarted: Backend, left: Left, deeds: Tools
) -> None:
    """The checkpoint still has the question, but the journal knows that the caller's yes was acted on."""
    reply = await restarted.caller("booked").say("yes again", turn="t2")
    assert reply.ended_once
    assert deeds.done("booked") == {"book began": 1}
    body = left.gemini.requests[-1].body
    assert ("confirm", UNKNOWN) in results_in(body)


async def test_what_was_heard_of_the_turn_that_crashed_is_remembered(restarted: Backend, left: Left) -> None:
    """The journal does not have what it sent, but the platform knows what came."""
    await restarted.caller("talking").say("you were saying", turn="t2", heard=("t1", "word word"))
    body = requests_for(left.gemini, "you were saying")[0].body
    assert answers_in(body) == ["word word"]


@pytest.mark.parametrize(("conversation", "words"), [("talking", "talk"), ("waiting", "think")])
async def test_words_that_were_never_answered_are_remembered(
    restarted: Backend, left: Left, conversation: str, words: str
) -> None:
    """Killed while the model spoke, or before it did. What it had said is not known any more."""
    await restarted.caller(conversation).say(f"hello {conversation}", turn="t2")
    body = requests_for(left.gemini, f"hello {conversation}")[0].body
    assert caller_said(body).startswith(f"{words}\n")
    assert answers_in(body) == []
    assert NOT_STARTED not in str(body)
