"""Noise: a platform takes it for speech and sends an empty transcript. What it has cut off is taken up again; what it
has not cut off goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.api.platforms.speech_engine.test_speech_engine import answer, engine
from tests.support.backend import Backend, backend
from tests.support.gemini import Gemini, calls, text
from tests.support.phone import phone
from tests.support.platforms import COMPLETIONS_KEY, platform_settings, shown

LONG = "It is fourteen degrees in Paris today, and tomorrow it gets up to seventeen degrees, with some rain."
REST = "Tomorrow it gets up to seventeen."
GO_ON = "They said nothing that could be understood."


@pytest.fixture
async def server(gemini: Gemini, tmp_path: Path) -> AsyncIterator[Backend]:
    async with backend(**platform_settings(gemini, tmp_path, welcome_message="")) as server:
        yield server


@pytest.mark.parametrize("noise", ["", "   "])
@pytest.mark.parametrize("delay", [0.05, 0.0], ids=["while it is generated", "while it is played"])
async def test_on_a_phone_what_noise_has_cut_off_is_taken_up_again(
    server: Backend, gemini: Gemini, noise: str, delay: float
) -> None:
    gemini.script(text(LONG, delay=delay), text(REST))
    async with phone(server.url) as caller:
        assert await caller.answer() == "", "the greeting, of no words"
        await caller.say("The weather in Paris?")
        await (caller.words(30) if delay else caller.answer())
        await caller.interrupt("It is fourteen degrees in")
        if delay:
            await caller.answer()
        await caller.say(noise)
        assert await caller.answer() == REST
    assert ("model", "It is fourteen degrees in") in shown(gemini.requests[-1].body)
    assert GO_ON in shown(gemini.requests[-1].body)[-1][1]


async def test_on_a_phone_noise_that_has_cut_nothing_off_stops_nothing(server: Backend, gemini: Gemini) -> None:
    """Neither an answer that is being made, nor a goodbye that is played, nor what comes after it."""
    gemini.script(text(LONG, delay=0.02), calls(("end_call", {}), text="Goodbye."))
    async with phone(server.url) as caller:
        await caller.say("The weather in Paris?")
        begun = await caller.words(20)
        await caller.say("")
        assert begun + await caller.answer() == LONG
        await caller.say("Bye")
        assert await caller.answer() == "Goodbye."
        await caller.say("")
        assert await caller.frame() == {"type": "end"}


@pytest.mark.parametrize("delay", [0.05, 0.0], ids=["while it is generated", "while it is played"])
async def test_in_a_browser_what_noise_has_cut_off_is_taken_up_again(
    server: Backend, gemini: Gemini, delay: float
) -> None:
    """The engine's history says what was heard: the agent's line as it was cut."""
    gemini.script(text(LONG, delay=delay), text(REST))
    async with engine(server) as socket:
        await transcript(socket, 1, ("user", "The weather in Paris?"))
        if delay:
            await asyncio.sleep(0.5)
        else:
            await answer(socket, 1)
        heard = ("user", "The weather in Paris?"), ("agent", "It is fourteen degrees")
        await transcript(socket, 2, *heard, ("user", ""))
        assert await answer(socket, 2) == REST
    assert ("model", "It is fourteen degrees") in shown(gemini.requests[-1].body)
    assert GO_ON in shown(gemini.requests[-1].body)[-1][1]


async def transcript(socket: Any, event_id: int, *lines: tuple[str, str]) -> None:
    import json

    history = [{"role": role, "content": said} for role, said in lines]
    await socket.send(json.dumps({"type": "user_transcript", "event_id": event_id, "user_transcript": history}))


@pytest.mark.parametrize("stream", [True, False])
async def test_behind_a_client_of_openais_what_noise_has_cut_off_is_taken_up_again(
    server: Backend, gemini: Gemini, stream: bool
) -> None:
    gemini.script(text(LONG), text(REST))
    first = [{"role": "user", "content": "The weather in Paris?"}]
    then = [*first, {"role": "assistant", "content": "It is fourteen degrees"}, {"role": "user", "content": ""}]
    async with AsyncOpenAI(api_key=COMPLETIONS_KEY, base_url=f"{server.url}/v1", max_retries=0) as client:

        async def ask(messages: Any) -> str:
            made: Any = await client.chat.completions.create(model="x", user="c1", messages=messages, stream=stream)
            if stream:
                return "".join([chunk.choices[0].delta.content or "" async for chunk in made])
            return str(made.choices[0].message.content)

        assert await ask(first) == LONG
        assert await ask(then) == REST
    assert GO_ON in shown(gemini.requests[-1].body)[-1][1]
