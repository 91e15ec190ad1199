"""`call_ended` in a tool file: told of each call once, when it is over and its last tool too, whatever ended it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from agent.agent import Agent
from agent.calls import CallTimes, reports
from api import wiring
from tests.support.backend import SECRET, Backend, backend, served
from tests.support.conversation import Tools
from tests.support.ended_calls import EndedCalls, lines
from tests.support.gemini import Gemini, calls, text
from tests.support.phone import TOKEN, Phone, phone, signature
from tests.support.platforms import COMPLETIONS_KEY, platform_settings

WEATHER = "It is fourteen degrees in Paris. Tomorrow it gets up to seventeen degrees, with some rain."
QUIET = 0.6  # seconds in which a second call of the hook would have come


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "_LOOK", 0.05)
    monkeypatch.setattr(reports, "_BUSY", 0.05)
    monkeypatch.setattr(reports, "_AGAIN", (0.1, 0.1))
    monkeypatch.setattr(wiring, "CallTimes", partial(CallTimes, reconnect=0.3))


@pytest.fixture
def ended(deeds: Tools) -> EndedCalls:
    return EndedCalls(deeds.folder)


@pytest.fixture
def settings(gemini: Gemini, tmp_path: Path, deeds: Tools, ended: EndedCalls) -> dict[str, Any]:
    (deeds.folder / "call.py").write_text((Path(__file__).parents[3] / "tools" / "call.py").read_text())
    return platform_settings(
        gemini, tmp_path, tools_dir=deeds.folder, welcome_message="Hello.", layercode_webhook_secret=SECRET,
        call_idle_seconds=0.6, action_hold_seconds=0.1,
    )  # fmt: skip


@pytest.fixture
async def server(settings: dict[str, Any]) -> AsyncIterator[Backend]:
    async with backend(**settings) as server:
        yield server


def agent_of(server: Backend) -> Agent:
    assert server.agent
    return server.agent


async def hung_up_on(caller: Phone) -> None:
    """Twilio's answer to `end`: it closes the socket."""
    while (await caller.frame())["type"] != "end":
        pass


async def test_a_call_that_the_agent_ends(server: Backend, gemini: Gemini, ended: EndedCalls) -> None:
    """Who, when, how, what was heard, and what the tools did."""
    gemini.script(
        calls(("fetch", {"city": "Rome"})), text(WEATHER), calls(("end_call", {"reason": "done"}), text="Goodbye.")
    )
    async with phone(server.url, "CA1", customParameters={"tenant": "acme"}) as caller:
        await caller.answer()
        await caller.say("The weather in Rome?")
        await caller.answer()
        await caller.interrupt("Tomorrow it gets up to")
        await caller.say("Thanks, bye")
        await hung_up_on(caller)
    (call,) = await ended.until(1)
    assert call["how"] == "agent hung up"
    assert call["reason"] == "done"
    assert (call["platform"], call["conversation_id"], call["caller"]) == ("Twilio", "CA1", "+493012345678")
    assert call["metadata"] == {"tenant": "acme"}
    assert call["started"] < call["ended"]
    assert lines(call) == [
        ("agent", "Hello.", False),
        ("caller", "The weather in Rome?", False),
        ("agent", "Checking Rome. It is fourteen degrees in Paris. Tomorrow it gets up to", True),
        ("caller", "Thanks, bye", False),
        ("agent", "Goodbye.", False),
    ]
    assert [(tool["name"], tool["arguments"], tool["outcome"], tool["result"]) for tool in call["tool_calls"]][:1] == [
        ("fetch", {"city": "Rome"}, "finished", "Sunny in Rome.")
    ]
    await asyncio.sleep(QUIET)
    assert len(ended.told()) == 1


async def test_a_cough_and_then_a_hang_up(server: Backend, gemini: Gemini, ended: EndedCalls) -> None:
    """An interruption is reported, and nobody says anything after it: the transcript ends at what was heard."""
    gemini.script(text(WEATHER))
    async with phone(server.url) as caller:
        await caller.answer()
        await caller.say("The weather?")
        await caller.answer()
        await caller.interrupt("It is fourteen degrees in")
    (call,) = await ended.until(1)
    assert call["how"] == "caller hung up"
    assert lines(call)[-1] == ("agent", "It is fourteen degrees in", True)


async def test_what_a_cough_has_cut_is_known_on_the_next_socket(
    server: Backend, gemini: Gemini, ended: EndedCalls
) -> None:
    """The socket breaks after it: the memory is cut all the same, and the call is one."""
    gemini.script(text(WEATHER), text("Yes?"))
    async with phone(server.url, "CA7") as caller:
        await caller.answer()
        await caller.say("The weather?")
        await caller.answer()
        await caller.interrupt("It is fourteen degrees in")
        caller.socket.transport.abort()
    async with phone(server.url, "CA7") as caller:
        await caller.say("And now?")
        assert await caller.answer() == "Yes?"
        assert not ended.told()
    told = [c for c in gemini.requests[-1].body["contents"] if c["role"] == "model"][-1]
    assert told["parts"][0]["text"] == "It is fourteen degrees in"
    (call,) = await ended.until(1)
    assert lines(call)[-3:] == [
        ("agent", "It is fourteen degrees in", True),
        ("caller", "And now?", False),
        ("agent", "Yes?", False),
    ]
    await asyncio.sleep(QUIET)
    assert len(ended.told()) == 1


@pytest.mark.parametrize("status", ["completed", None])
async def test_a_line_that_drops(server: Backend, ended: EndedCalls, status: str | None) -> None:
    """Unless the platform says afterwards that the call was ended."""
    async with phone(server.url, "CA0") as caller:
        await caller.answer()
        caller.socket.transport.abort()
    if status:
        fields, url = {"CallSid": "CA0", "CallStatus": status}, f"{server.url}/twilio/ended"
        await server.http.post(url, data=fields, headers=signature(url, fields))
    (call,) = await ended.until(1)
    assert call["how"] == ("caller hung up" if status else "dropped")


async def test_a_transfer(server: Backend, gemini: Gemini, ended: EndedCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    """The platform's callback says that it is over: nothing is waited for."""
    monkeypatch.setenv("TRANSFER_TO", '{"reception": "+493099999"}')
    monkeypatch.setattr(agent_of(server).calls, "times", CallTimes(reconnect=60))
    gemini.script(calls(("transfer_to_person", {"name": "reception", "reason": "a bill"}), text="One moment."))
    async with phone(server.url, "CA2") as caller:
        await caller.answer()
        await caller.say("A person, please")
        await hung_up_on(caller)
    fields = {"CallSid": "CA2", "CallStatus": "in-progress", "HandoffData": '{"transfer": "+493099999"}'}
    url = f"{server.url}/twilio/ended"
    assert "<Dial>" in (await server.http.post(url, data=fields, headers=signature(url, fields))).text
    (call,) = await ended.until(1)
    assert (call["how"], call["transferred_to"], call["reason"]) == ("transferred", "+493099999", "a bill")


async def test_not_before_the_last_tool_is_over(
    server: Backend, gemini: Gemini, ended: EndedCalls, deeds: Tools
) -> None:
    gemini.script(calls(("order", {"thing": "soup", "seconds": 1.0})))
    async with phone(server.url, "CA3") as caller:
        await caller.answer()
        await caller.say("Soup")
        await deeds.until("CA3", "order began")
    (call,) = await ended.until(1)
    assert deeds.done("CA3")["order done"]
    assert [(tool["name"], tool["outcome"]) for tool in call["tool_calls"]] == [("order", "finished")]


async def test_a_failing_hook_is_tried_again_and_another_file_is_not(
    server: Backend, ended: EndedCalls, deeds: Tools, caplog: pytest.LogCaptureFixture
) -> None:
    """Its error is logged without its text, the id stays the same, and after some attempts it is given up."""
    other = EndedCalls(deeds.folder, "another")
    await asyncio.to_thread(agent_of(server).folder.refresh)
    ended.fail(True)
    async with phone(server.url, "CA4") as caller:
        await caller.answer()
    calls_told = await ended.until(3)
    assert [call["attempt"] for call in calls_told] == [1, 2, 3]
    assert len({call["id"] for call in calls_told}) == 1
    await asyncio.sleep(QUIET)
    assert len(ended.told()) == 3
    assert len(other.told()) == 1
    assert "call_ended in report.py failed, attempt 2: RuntimeError" in caplog.text
    assert "call_ended is given up after 3 attempts: report.py" in caplog.text
    assert "42" not in caplog.text

    ended.fail(False)
    async with phone(server.url, "CA5") as caller:
        await caller.answer()
    (call,) = await ended.until(1, "CA5")
    assert call["attempt"] == 1


async def test_layercodes_session_end(server: Backend, gemini: Gemini, ended: EndedCalls) -> None:
    """Once, however often it comes; with the data of the page. The next session is another call."""
    gemini.script(text("One."), text("Two."))
    for session, words in (("s1", "first"), ("s2", "second")):
        caller = server.caller("lc")
        await caller.say(None, type="session.start", turn=f"w{session}", session_id=session)
        await caller.say(None, type="data", turn=f"d{session}", data={"page": session})
        await caller.say(words, turn=f"t{session}", session_id=session)
        for _ in range(2):
            await caller.say(None, type="session.end", turn=f"e{session}", session_id=session, agent_id="a")
        await ended.until(1 if session == "s1" else 2)
    await asyncio.sleep(QUIET)
    one, two = ended.told()
    assert (one["platform"], one["how"], one["page_data"]) == ("Layercode", "ended", [{"page": "s1"}])
    assert lines(one) == [("agent", "Hello.", False), ("caller", "first", False), ("agent", "One.", False)]
    assert two["page_data"] == [{"page": "s2"}]
    assert ("caller", "second", False) in lines(two)
    assert ("caller", "first", False) not in lines(two)


async def test_a_completions_client_that_falls_silent(server: Backend, gemini: Gemini, ended: EndedCalls) -> None:
    """After a while without a request; a dropped guess is not in the transcript. The next request is another call."""
    gemini.script(text(WEATHER, delay=0.05), text("Sunny."), text("Still."))
    async with AsyncOpenAI(api_key=COMPLETIONS_KEY, base_url=f"{server.url}/v1", max_retries=0) as client:

        async def ask(*said: str) -> None:
            roles = ("user", "assistant")
            messages: Any = [{"role": roles[at % 2], "content": words} for at, words in enumerate(said)]
            stream: Any = await client.chat.completions.create(model="x", user="me", messages=messages, stream=True)
            async for _ in stream:
                pass

        guess = asyncio.create_task(ask("What is"))
        while not gemini.requests:
            await asyncio.sleep(0.01)
        guess.cancel()
        await ask("What is the weather?")
        await ended.until(1)
        await ask("What is the weather?", "Sunny.", "And now?")
        await ended.until(2)
    one, two = ended.told()
    assert (one["platform"], one["how"]) == ("chat completions", "timed out")
    assert lines(one) == [("caller", "What is the weather?", False), ("agent", "Sunny.", False)]
    assert lines(two) == [("caller", "And now?", False), ("agent", "Still.", False)]


async def test_a_hook_that_is_not_async_is_an_error_of_its_file(server: Backend, deeds: Tools) -> None:
    (deeds.folder / "wrong.py").write_text("def call_ended(call):\n    pass\n")
    (error,) = await asyncio.to_thread(agent_of(server).folder.refresh)
    assert "wrong.py: call_ended must be `async def call_ended(call)`." in str(error)


def env_of(settings: dict[str, Any]) -> dict[str, str]:
    """The same settings for a process of its own."""
    return {
        "TWILIO_AUTH_TOKEN": TOKEN, "WELCOME_MESSAGE": "Hello.", "TOOLS_DIR": str(settings["tools_dir"]),
        "GOOGLE_API_KEY": "test-key", "GOOGLE_GEMINI_BASE_URL": settings["google_gemini_base_url"],
        "DATABASE_URL": settings["database_url"],
    }  # fmt: skip


async def kill_in_mid_call(settings: dict[str, Any], gemini: Gemini, deeds: Tools, call: str) -> None:
    gemini.script(text("Hello you."), calls(("order", {"thing": "soup", "seconds": 60})))
    async with served(**env_of(settings)) as doomed, phone(doomed.url, call) as caller:
        await caller.answer()
        await caller.say("Hi")
        await caller.answer()
        await caller.say("Soup")
        await deeds.until(call, "order began", seconds=10)
        assert doomed.process
        doomed.process.kill()
        await asyncio.to_thread(doomed.process.wait)


def assert_is_the_killed_call(call: dict[str, Any]) -> None:
    assert call["how"] == "dropped"
    assert lines(call) == [
        ("agent", "Hello.", False),
        ("caller", "Hi", False),
        ("agent", "Hello you.", False),
        ("caller", "Soup", False),
    ]
    assert [(tool["name"], tool["outcome"], tool["result"]) for tool in call["tool_calls"]] == [
        ("order", "unknown", None)
    ]


async def test_a_process_that_is_killed(
    settings: dict[str, Any], gemini: Gemini, ended: EndedCalls, deeds: Tools
) -> None:
    """The next one on its database tells the hook, once."""
    await kill_in_mid_call(settings, gemini, deeds, "CA8")
    assert not ended.told()
    async with backend(**settings):
        await ended.until(1)
        await asyncio.sleep(QUIET)
    (call,) = ended.told()
    assert_is_the_killed_call(call)


async def test_a_worker_that_is_killed(
    settings: dict[str, Any], gemini: Gemini, ended: EndedCalls, deeds: Tools, postgres_url: str
) -> None:
    """Two others are on its database: one of them tells the hook. So it is with every call's end."""
    settings["database_url"] = postgres_url
    async with backend(**settings) as one, backend(**settings) as two:
        await kill_in_mid_call(settings, gemini, deeds, "CA9")
        for number in range(6):
            async with phone((one, two)[number % 2].url, f"CB{number}") as caller:
                await caller.answer()
        await ended.until(7, seconds=30)
        await asyncio.sleep(QUIET)
        assert sorted(call["conversation_id"] for call in ended.told()) == ["CA9", *(f"CB{n}" for n in range(6))]
        (call,) = ended.told("CA9")
    assert_is_the_killed_call(call)


async def test_a_call_that_changes_its_worker_is_one_call(
    settings: dict[str, Any], ended: EndedCalls, gemini: Gemini, postgres_url: str
) -> None:
    """The older socket's end, noticed late, does not end it."""
    gemini.script(text("Yes."))
    settings["database_url"] = postgres_url
    async with backend(**settings) as one, backend(**settings) as two:
        async with phone(one.url, "CA6") as before:
            await before.answer()
            async with phone(two.url, "CA6") as caller:
                await before.socket.close()
                await asyncio.sleep(QUIET)
                assert not ended.told()
                await caller.say("Still there?")
                assert await caller.answer() == "Yes."
        (call,) = await ended.until(1)
        await asyncio.sleep(QUIET)
    assert len(ended.told()) == 1
    assert lines(call)[-1] == ("agent", "Yes.", False)


async def test_nothing_is_kept_without_a_hook(settings: dict[str, Any], deeds: Tools, ended: EndedCalls) -> None:
    (deeds.folder / "report.py").unlink()
    async with backend(**settings) as server:
        async with phone(server.url) as caller:
            await caller.answer()
        assert not await agent_of(server)._conversations.storage.database.fetch("SELECT * FROM calls")
