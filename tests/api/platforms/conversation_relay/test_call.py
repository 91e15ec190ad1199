"""A phone call over the real socket, the running application and the real Gemini client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.backend import Backend, backend
from tests.support.gemini import Gemini, calls, error, text
from tests.support.phone import phone
from tests.support.platforms import platform_settings, shown

WEATHER = "It is fourteen degrees in Paris. Tomorrow it gets up to seventeen degrees, with some rain."


@pytest.fixture
def gemini() -> Iterator[Gemini]:
    with Gemini() as gemini:
        yield gemini


@pytest.fixture
async def server(gemini: Gemini, tmp_path: Path) -> AsyncIterator[Backend]:
    async with backend(**platform_settings(gemini, tmp_path)) as server:
        yield server


async def test_welcome_question_answer(server: Backend, gemini: Gemini) -> None:
    """The call is greeted, and a prompt is answered word by word, ended once by an empty `last`."""
    gemini.script(text("It is sunny."))
    async with phone(server.url) as caller:
        assert await caller.answer() == "Hello, this is the weather line."
        await caller.say("What is the weather?")
        assert await caller.answer() == "It is sunny."
        assert [frame["last"] for _, frame in caller.frames].count(True) == 2
    gemini.verify()


async def test_the_call_is_held_in_the_language_that_is_heard(gemini: Gemini, tmp_path: Path) -> None:
    """It begins in the one that the relay listens for, and goes on in that of each prompt; an undetermined one changes
    nothing."""
    gemini.script(*[error(503)] * 6)
    welcome = {"en": "Hello!", "de": "Hallo!", "fr": "Bonjour !"}
    options = {"relay_options": {"language": "de-DE"}, "welcome_message": welcome}
    async with backend(**platform_settings(gemini, tmp_path, **options)) as server, phone(server.url) as caller:
        said = [await caller.answer()]
        for lang in ("de-DE", "multi", "fr-FR"):
            await caller.say("?", lang=lang)
            said.append((await caller.answer()).split()[0])
    assert said == ["Hallo!", "Entschuldigung,", "Entschuldigung,", "Désolé,"]
    async with (
        backend(**platform_settings(gemini, tmp_path, **options)) as server,
        phone(server.url, customParameters={"language": "fr"}) as caller,
    ):
        assert await caller.answer() == "Bonjour !"


async def test_partial_prompts_never_act(server: Backend, gemini: Gemini) -> None:
    """A prompt that is not the last is a guess: the model is not asked."""
    gemini.script(text("Sunny."))
    async with phone(server.url) as caller:
        await caller.answer()
        await caller.say("What is", last=False)
        await caller.say("What is the wea", last=False)
        await asyncio.sleep(0.2)
        assert not gemini.requests
        await caller.say("What is the weather?")
        assert await caller.answer() == "Sunny."
    gemini.verify()


async def test_a_fragment_is_found_in_what_was_sent(server: Backend, gemini: Gemini) -> None:
    """The report names the last words that were spoken: the memory ends there, and not at the beginning."""
    gemini.script(text(WEATHER), text("You are welcome."))
    async with phone(server.url) as caller:
        await caller.answer()
        await caller.say("The weather in Paris?")
        assert await caller.answer() == WEATHER
        await caller.interrupt("Tomorrow it gets up to")
        await caller.say("Thanks")
        await caller.answer()
    roles = shown(gemini.requests[-1].body)
    assert ("model", "It is fourteen degrees in Paris. Tomorrow it gets up to") in roles
    gemini.verify()


async def test_an_interruption_stops_the_answer_at_once(server: Backend, gemini: Gemini) -> None:
    """It is cut without a prompt after it, and the model's stream is closed."""
    gemini.script(text(WEATHER, delay=0.1), text("Yes?"))
    async with phone(server.url) as caller:
        await caller.answer()
        await caller.say("The weather in Paris?")
        await caller.words(8)
        await caller.interrupt("It is")
        rest = await caller.answer()
        assert len(rest) < 40
        await asyncio.sleep(0.3)
        await caller.say("And now?")
        assert await caller.answer() == "Yes?"
    roles = shown(gemini.requests[-1].body)
    assert ("model", "It is") in roles


async def test_digits_are_the_callers_words(server: Backend, gemini: Gemini) -> None:
    """Keys are collected until `#`, and given as exact text."""
    gemini.script(text("Thank you."))
    async with phone(server.url) as caller:
        await caller.answer()
        await caller.press("123#")
        assert await caller.answer() == "Thank you."
    assert shown(gemini.requests[-1].body)[-1][1].endswith("pressed 1 2 3 #")


async def test_goodbye_is_heard_before_the_call_ends(server: Backend, gemini: Gemini) -> None:
    """`end` is sent once the goodbye has had its time, and the model is not asked again for it."""
    gemini.script(calls(("end_call", {"reason": "done"}), text="Goodbye, and thank you."))
    async with phone(server.url) as caller:
        await caller.answer()
        await caller.say("That is all, bye")
        assert await caller.answer() == "Goodbye, and thank you."
        said = caller.frames[-1][0]
        frame = await caller.frame()
        assert frame == {"type": "end"}
        assert caller.frames[-1][0] - said > 0.8
    gemini.verify()


async def test_a_caller_who_speaks_into_the_goodbye_is_not_hung_up_on(server: Backend, gemini: Gemini) -> None:
    """The call goes on."""
    gemini.script(calls(("end_call", {}), text="Goodbye, and thank you."), text("Of course: it is sunny."))
    async with phone(server.url) as caller:
        await caller.answer()
        await caller.say("Bye")
        await caller.answer()
        await caller.interrupt("Goodbye")
        await caller.say("Wait, the weather?")
        assert await caller.answer() == "Of course: it is sunny."
        with pytest.raises(TimeoutError):
            await caller.frame(patience=2.5)
    assert all(frame["type"] == "text" for _, frame in caller.frames)
