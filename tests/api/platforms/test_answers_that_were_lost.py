"""The same words again, because their answer did not come through: a socket broke in the middle of it, or a client has
dropped its request. They get the whole answer, and what the tools have done is not done again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.api.platforms.speech_engine.test_speech_engine import answer as engine_answer
from tests.api.platforms.speech_engine.test_speech_engine import engine, say
from tests.support.backend import Backend, backend
from tests.support.conversation import Tools, caller_said, question, results_in, steps_taken
from tests.support.gemini import Gemini, Step, calls, text
from tests.support.phone import phone
from tests.support.platforms import COMPLETIONS_KEY, platform_settings

LONG = "Soup is ordered, and it will be there within half an hour, with some bread and a spoon."
ORDER = {"order began": 1, "order done": 1}
Ask = Callable[..., Any]


def model(body: dict[str, Any]) -> Step:
    """Orders soup when asked to, which takes 0.4 s for `slow`; and a table only after a question."""
    asked = question(body)
    if "order" in asked or "slow" in asked:
        return text(LONG, delay=0.03) if steps_taken(body) else calls(("order", {"thing": "soup", "seconds": 0.4}))
    if "table" in asked:
        return calls(("book", {"people": 4, "time": "seven"}))
    if "yes" in asked:
        return text(LONG, delay=0.03) if steps_taken(body) else calls(("confirm", {"yes": True}))
    return text(LONG, delay=0.03) if "recite" in asked else text("Here I am.")


@pytest.fixture
async def server(gemini: Gemini, tmp_path: Path, deeds: Tools) -> AsyncIterator[Backend]:
    gemini.answer = model
    settings = platform_settings(gemini, tmp_path, tools_dir=deeds.folder, action_hold_seconds=0.6, welcome_message="")
    async with backend(**settings) as server:
        yield server


@pytest.fixture
async def ask(server: Backend) -> AsyncIterator[Ask]:
    """A streamed answer in the conversation c1, after these messages; cut off after so many characters."""
    async with AsyncOpenAI(api_key=COMPLETIONS_KEY, base_url=f"{server.url}/v1", max_retries=0) as client:

        async def ask(*said: str, drop_after: int | None = None) -> str:
            roles = ("user", "assistant") * len(said)
            messages: Any = [{"role": role, "content": words} for role, words in zip(roles, said, strict=False)]
            made: Any = await client.chat.completions.create(model="x", user="c1", messages=messages, stream=True)
            words = ""
            async for chunk in made:
                words += chunk.choices[0].delta.content or ""
                if drop_after is not None and len(words) >= drop_after:
                    await made.close()
                    break
            return words

        yield ask


async def dropped(asking: Any, seconds: float) -> None:
    task = asyncio.create_task(asking)
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize("pause", [0.0, 0.3], ids=["at once", "later"])
@pytest.mark.parametrize("words", ["recite", "slow order"])
async def test_a_guess_that_was_right_is_answered_in_full(
    gemini: Gemini, ask: Ask, deeds: Tools, words: str, pause: float
) -> None:
    """LiveKit drops a preemptive generation also when only its tools or its context have changed, and asks again with
    the same words."""
    assert LONG.startswith(await ask(words, drop_after=20))
    await asyncio.sleep(pause)
    assert await ask(words) == LONG
    assert await ask(words, LONG, "And?") == "Here I am."
    assert caller_said(gemini.requests[-1].body) == f"{words}\nAnd?"
    assert deeds.done("c1") == (ORDER if "order" in words else {})


async def test_a_guess_that_was_right_acts_though_it_was_dropped_before_it_did(
    gemini: Gemini, ask: Ask, deeds: Tools
) -> None:
    await dropped(ask("order soup"), 0.3)
    assert await ask("order soup") == LONG
    assert deeds.done("c1") == ORDER
    assert results_in(gemini.requests[-1].body) == [("order", "Ordered soup.")]


async def test_a_guess_that_was_dropped_before_it_acted_leaves_no_words(gemini: Gemini, ask: Ask, deeds: Tools) -> None:
    await dropped(ask("order"), 0.3)
    assert await ask("Are you there?") == "Here I am."
    assert caller_said(gemini.requests[-1].body) == "Are you there?"
    assert not deeds.done("c1")


async def test_a_guess_that_was_made_twice_gives_way_to_what_was_meant(gemini: Gemini, ask: Ask, deeds: Tools) -> None:
    """However soon the one follows the other."""
    for number in range(4):
        words = f"slow order {number}"
        await dropped(ask(words), 0.05)
        await dropped(ask(words), 0.02 * number)
        assert await ask(f"{words} please") == LONG
        assert caller_said(gemini.requests[-1].body).splitlines()[-1] == f"{words} please"
        assert deeds.done("c1")["order began"] == number + 1


@pytest.mark.parametrize("drop_after", [20, None], ids=["dropped", "read to its end"])
async def test_the_newest_guess_wins_also_when_it_was_made_before(
    gemini: Gemini, ask: Ask, drop_after: int | None
) -> None:
    """A transcript that goes to and fro."""
    await ask("recite", drop_after=drop_after)
    await ask("Are you", drop_after=2)
    assert await ask("recite") == LONG
    assert await ask("recite", LONG, "And?") == "Here I am."
    assert caller_said(gemini.requests[-1].body) == "recite\nAnd?"


async def test_a_yes_whose_answer_was_lost_is_carried_out_once(gemini: Gemini, ask: Ask, deeds: Tools) -> None:
    asked = await ask("a table")
    before = "a table", asked
    await ask(*before, "yes", drop_after=10)
    assert await ask(*before, "yes") == LONG
    assert deeds.done("c1")["book began"] == 1
    assert ("confirm", "Booked for 4 at seven.") in results_in(gemini.requests[-1].body)


async def test_a_question_that_was_lost_is_put_again(ask: Ask, deeds: Tools) -> None:
    await dropped(ask("a table"), 0.0)
    asked = await ask("a table")
    assert asked == "Book a table for 4 at seven?"
    assert await ask("a table", asked, "yes") == LONG
    assert deeds.done("c1")["book done"] == 1


@pytest.mark.parametrize("words", ["recite", "slow order"])
@pytest.mark.parametrize("when", ["in mid-tool", "in mid-answer"])
async def test_a_phones_new_socket_gets_the_whole_answer(
    server: Backend, gemini: Gemini, deeds: Tools, words: str, when: str
) -> None:
    """Twilio sends the prompt again that was not answered when the socket broke."""
    async with phone(server.url, "c1") as caller:
        await caller.answer()
        await caller.say(words)
        if when == "in mid-answer":
            await caller.words(20)
        elif "order" in words:
            await deeds.until("c1", "order began")
        caller.socket.transport.abort()
    async with phone(server.url, "c1") as caller:
        await caller.say(words)
        assert await caller.answer() == LONG
        await caller.say("And?")
        assert await caller.answer() == "Here I am."
    assert deeds.done("c1") == (ORDER if "order" in words else {})
    assert caller_said(gemini.requests[-1].body).splitlines()[-2:] == [words, "And?"]


@pytest.mark.parametrize("words", ["recite", "slow order"])
async def test_a_speech_engines_new_socket_gets_the_whole_answer(
    server: Backend, gemini: Gemini, deeds: Tools, words: str
) -> None:
    async with engine(server, conversation="c1") as socket:
        await say(socket, 1, words)
        spoken = ""
        while len(spoken) < 20:
            spoken += json.loads(await socket.recv())["content"]
        socket.transport.abort()
    async with engine(server, conversation="c1") as socket:
        await say(socket, 1, words)
        assert await engine_answer(socket, 1) == LONG
    assert deeds.done("c1") == (ORDER if "order" in words else {})
