"""Chat completions, asked by OpenAI's own client, over a real socket."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, AuthenticationError, BadRequestError
from pydantic import SecretStr

from tests.support.backend import ROOT, Backend, backend
from tests.support.gemini import Gemini, calls, text

KEY = "k3y-0f1e2d3c4b5a6978"
ACTS = '''
from pathlib import Path

from agent import voice_tool

@voice_tool
def order(item: str) -> str:
    """Order something."""
    with Path(__file__).with_name("done.txt").open("a") as file:
        file.write(item + "\\n")
    return f"Ordered {item}."

@voice_tool(on_barge_in="cancel")
async def price(item: str) -> str:
    """The price of something."""
    return "Five euros."
'''


@pytest.fixture
def gemini() -> Iterator[Gemini]:
    with Gemini() as gemini:
        yield gemini


@pytest.fixture
async def server(gemini: Gemini, tmp_path: Path) -> AsyncIterator[Backend]:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "acts.py").write_text(ACTS)
    async with backend(
        completions_api_key=SecretStr(KEY),
        layercode_webhook_secret=SecretStr(""),
        google_api_key=SecretStr("test-key"),
        google_gemini_base_url=gemini.url,
        database_url=f"sqlite:///{tmp_path}/voice.db",
        tools_dir=tmp_path / "tools",
        action_hold_seconds=0.6,
    ) as server:
        yield server


@pytest.fixture
async def openai(server: Backend) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(api_key=KEY, base_url=f"{server.url}/v1", max_retries=0) as client:
        yield client


def user(words: str) -> Any:
    return {"role": "user", "content": words}


def assistant(words: str) -> Any:
    return {"role": "assistant", "content": words}


async def ask(client: AsyncOpenAI, messages: list[Any], **more: Any) -> str:
    """A streamed answer."""
    stream = await client.chat.completions.create(
        model="any", messages=messages, stream=True, **{"user": "conv-1", **more}
    )
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])


def shown(gemini: Gemini) -> list[tuple[str, str]]:
    """(role, text) of what the model was shown last."""
    contents = gemini.requests[-1].body["contents"]
    return [(content["role"], "".join(part.get("text", "") for part in content["parts"])) for content in contents]


def done(folder: Path) -> list[str]:
    file = folder / "tools" / "done.txt"
    return file.read_text().splitlines() if file.exists() else []


async def test_streamed_and_whole(openai: AsyncOpenAI, gemini: Gemini) -> None:
    """Both ways give the words; the model is listed."""
    gemini.script(text("It is sunny."), text("And warm."))
    assert await ask(openai, [user("The weather?")]) == "It is sunny."
    whole = await openai.chat.completions.create(
        model="any", user="conv-1", messages=[user("The weather?"), assistant("It is sunny."), user("And?")]
    )
    assert whole.choices[0].message.content == "And warm."
    assert whole.choices[0].finish_reason == "stop"
    assert [model.id async for model in openai.models.list()] == ["voice-agent"]
    gemini.verify()


async def test_refusals_say_what_to_do(server: Backend, openai: AsyncOpenAI) -> None:
    """A wrong key is 401, and a request without a conversation says how to name one."""
    async with AsyncOpenAI(api_key="wrong", base_url=f"{server.url}/v1", max_retries=0) as stranger:
        with pytest.raises(AuthenticationError):
            await ask(stranger, [user("Hello")])
    with pytest.raises(BadRequestError, match="conversation_id"):
        await openai.chat.completions.create(model="any", messages=[{"role": "user", "content": "Hello"}])
    for body in (b"", b"[]", b'{"messages": 5}', b"\xff", b'{"messages": [' + b"[" * 100_000):
        answer = await server.http.post(
            f"{server.url}/v1/chat/completions", content=body, headers={"Authorization": f"Bearer {KEY}"}
        )
        assert answer.status_code == 400, answer.text


async def test_the_same_request_again_gets_the_same_answer(openai: AsyncOpenAI, gemini: Gemini) -> None:
    """A duplicate asks the model nothing."""
    gemini.script(text("It is sunny."))
    assert await ask(openai, [user("The weather?")]) == "It is sunny."
    assert await ask(openai, [user("The weather?")]) == "It is sunny."
    gemini.verify()


async def test_what_was_heard_is_derived_from_the_next_request(openai: AsyncOpenAI, gemini: Gemini) -> None:
    """The client remembers less of the answer than was sent: that is what was heard."""
    gemini.script(text("It is sunny today and rainy tomorrow."), text("Yes."))
    await ask(openai, [user("The weather?")])
    await ask(openai, [user("The weather?"), assistant("It is sunny today"), user("Thanks")])
    assert ("model", "It is sunny today") in shown(gemini)


async def test_what_the_client_remembers_wrongly_cuts_nothing(openai: AsyncOpenAI, gemini: Gemini) -> None:
    """An assistant message that is no beginning of the answer is none of ours."""
    gemini.script(text("It is sunny today and rainy tomorrow."), text("Yes."))
    await ask(openai, [user("The weather?")])
    await ask(openai, [user("The weather?"), assistant("rainy tomorrow. It is"), user("Thanks")])
    assert ("model", "It is sunny today and rainy tomorrow.") in shown(gemini)


async def test_a_dropped_guess_leaves_no_words(openai: AsyncOpenAI, gemini: Gemini) -> None:
    """Another text in the same place takes the guess's place, in the memory too."""
    gemini.script(text("Which table would you like to have, please?", delay=0.05), text("It is sunny."))
    guess = asyncio.create_task(ask(openai, [user("What is the")]))
    await asyncio.sleep(0.15)
    guess.cancel()
    assert await ask(openai, [user("What is the weather?")]) == "It is sunny."
    assert shown(gemini) == [("user", "What is the weather?")]


async def test_a_dropped_guess_that_was_answered_like_the_turn_before_leaves_no_words(
    openai: AsyncOpenAI, gemini: Gemini
) -> None:
    """The client remembers "Pardon?", but as the answer to what was said before."""
    gemini.script(text("Pardon?"), text("Pardon?"), text("It is sunny."))
    before = [user("Hm"), assistant("Pardon?")]
    assert await ask(openai, [user("Hm")]) == "Pardon?"
    assert await ask(openai, [*before, user("What is the")]) == "Pardon?"
    assert await ask(openai, [*before, user("What is the weather?")]) == "It is sunny."
    assert shown(gemini) == [("user", "Hm"), ("model", "Pardon?"), ("user", "What is the weather?")]


async def test_a_client_that_forgets_the_beginning_keeps_its_turns(openai: AsyncOpenAI, gemini: Gemini) -> None:
    """Its number of messages stays the same from then on; the same answers twice change nothing."""
    gemini.script(text("Yes."), text("Yes."), text("Bye."))
    await ask(openai, [user("One?")])
    await ask(openai, [user("One?"), assistant("Yes."), user("Two?")])
    await ask(openai, [user("Two?"), assistant("Yes."), user("Bye")])
    assert [words for who, words in shown(gemini) if who == "user"] == ["One?", "Two?", "Bye"]


async def test_nothing_is_done_for_a_guess_that_is_dropped(openai: AsyncOpenAI, gemini: Gemini, tmp_path: Path) -> None:
    """livekit/agents#5924: a request made on a guess, and dropped, must not have ordered anything. The one that was
    meant orders once."""
    gemini.script(
        calls(("order", {"item": "pizza"})),
        calls(("order", {"item": "pasta"})),
        text("Your pasta is ordered."),
    )
    guess = asyncio.create_task(ask(openai, [user("I would like a pizza")]))
    await asyncio.sleep(0.15)
    guess.cancel()
    assert await ask(openai, [user("I would like a pizza no a pasta")]) == "Your pasta is ordered."
    assert done(tmp_path) == ["pasta"]


async def test_reads_run_for_a_guess_at_once(openai: AsyncOpenAI, gemini: Gemini) -> None:
    """A tool that changes nothing does not wait."""
    gemini.script(calls(("price", {"item": "pizza"})), text("Five euros."))
    began = asyncio.get_running_loop().time()
    assert await ask(openai, [user("The price?")]) == "Five euros."
    assert asyncio.get_running_loop().time() - began < 0.6


async def test_the_clients_own_tool_ends_the_call(gemini: Gemini, tmp_path: Path) -> None:
    """A client that can hang up says so by its tools, and is told by a tool call; another one is not offered it."""
    gemini.script(calls(("end_call", {"reason": "done"}), text="Goodbye."), text("Goodbye."))
    tool: Any = {
        "type": "function",
        "function": {"name": "end_call", "parameters": {"type": "object", "properties": {}}},
    }
    async with (
        backend(
            completions_api_key=SecretStr(KEY), layercode_webhook_secret=SecretStr(""),
            google_api_key=SecretStr("test-key"), google_gemini_base_url=gemini.url,
            database_url=f"sqlite:///{tmp_path}/voice.db", tools_dir=ROOT / "tools", action_hold_seconds=0.1,
        ) as server,
        AsyncOpenAI(api_key=KEY, base_url=f"{server.url}/v1", max_retries=0) as client,
    ):  # fmt: skip
        whole = await client.chat.completions.create(
            model="any",
            user="c1",
            messages=[{"role": "user", "content": "Bye"}],
            tools=[tool],
        )
        assert whole.choices[0].finish_reason == "tool_calls"
        assert whole.choices[0].message.content == "Goodbye."
        called = whole.choices[0].message.tool_calls
        assert called
        assert called[0].to_dict()["function"] == {"name": "end_call", "arguments": '{"reason": "done"}'}
        await ask(client, [user("Bye")], user="c2")
    declared = [
        {function["name"] for tool in request.body["tools"] for function in tool["functionDeclarations"]}
        for request in gemini.requests
    ]
    assert "end_call" in declared[0]
    assert "end_call" not in declared[-1]


async def test_guesses_at_random(openai: AsyncOpenAI, gemini: Gemini, tmp_path: Path) -> None:
    """Each turn is sent as three guesses, two of which are dropped at a random moment: exactly what was meant is done,
    once."""
    chance = random.Random(7)

    def answer(body: dict[str, Any]) -> Any:
        """Orders what the user has said last, then says so."""
        last = body["contents"][-1]["parts"][0]
        if "functionResponse" in last:
            return text("It is ordered.")
        if "tools" not in body:
            return text("A summary of orders.")
        return calls(("order", {"item": last["text"].splitlines()[-1]}))

    gemini.answer = answer
    meant = []
    messages: list[Any] = []
    for number in range(8):
        item = f"item {number}"
        for part in ("a", "b"):
            guess = asyncio.create_task(ask(openai, [*messages, user(f"{item} {part}")]))
            await asyncio.sleep(chance.uniform(0.02, 0.15))
            guess.cancel()
        said = await ask(openai, [*messages, user(item)])
        messages += [user(item), assistant(said)]
        meant.append(item)
    assert done(tmp_path) == meant


async def test_a_stalled_body_is_refused(server: Backend) -> None:
    """A body that is too large is 413."""
    answer = await server.http.post(
        f"{server.url}/v1/chat/completions", content=b"x" * (1024 * 1024 + 1),
        headers={"Authorization": f"Bearer {KEY}"},
    )  # fmt: skip
    assert answer.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE
