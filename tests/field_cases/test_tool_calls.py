"""Field cases of the calls that a model makes: M6 to M9, M11 and M12."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from tests.support.backend import Backend, Caller
from tests.support.conversation import Tools, caller_said, offered, quiet, results_in
from tests.support.gemini import Answer, Chunk, Gemini, calls, error, said, text, thought

FETCH = calls(("fetch", {"city": "Rome"}))
ORDER = calls(("order", {"thing": "soup"}))
APOLOGY = "Sorry, something went wrong on my side. Please say that again."


@pytest.fixture
async def backend_(start: Any, deeds: Tools) -> Backend:
    backend: Backend = await start(tools_dir=deeds.folder)
    return backend


@pytest.fixture
def caller(backend_: Backend) -> Caller:
    return backend_.caller("c1")


def followed_by(first: Answer, second: Answer) -> Answer:
    """Both in one answer."""
    return replace(first, chunks=(*first.chunks, *second.chunks))


def only_names_what_is_declared(gemini: Gemini) -> None:
    """What holds of every request: no history names a function that is not declared in it."""
    for request in gemini.requests:
        parts = [part for content in request.body["contents"] for part in content["parts"]]
        called = {part[kind]["name"] for part in parts for kind in ("functionCall", "functionResponse") if kind in part}
        assert called <= offered(request.body)


# M6: what must not be stored


@pytest.mark.parametrize(
    "name", ["", "look it up", "fetch!", "1fetch", "wetter_für", "x" * 200, "print(", "print(nothing())"]
)
async def test_m6_a_call_without_a_legal_name_is_asked_again_and_never_stored(
    gemini: Gemini, caller: Caller, deeds: Tools, name: str
) -> None:
    """No call of such an answer is run, and the conversation goes on without it."""
    gemini.script(calls((name, {}), ("order", {"thing": "soup"})), text("Sunny."), text("Rain."))
    assert (await caller.say("Weather?")).text == "Sunny."
    assert (await caller.say("And tomorrow?")).text == "Rain."
    assert not deeds.done("c1")
    assert all("functionCall" not in str(request.body["contents"]) for request in gemini.requests)


async def test_m6_what_was_said_before_such_a_call_is_not_said_again(gemini: Gemini, caller: Caller) -> None:
    gemini.script(calls(("", {}), text="One moment."), FETCH, text("Sunny."))
    assert (await caller.say("Weather?")).text == "One moment. Checking Rome. Sunny."


async def test_m6_a_history_that_the_model_refuses_is_told_in_words_and_the_conversation_goes_on(
    gemini: Gemini, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    """Its tool calls are told as words, from then on; the log says which kinds of calls, and none of the words."""
    caplog.set_level(logging.INFO)
    gemini.script(FETCH, text("Sunny."), error(400), text("You are welcome."), text("Bye."))
    await caller.say("Weather in Rome?")
    assert (await caller.say("Thanks")).text == "You are welcome."
    assert (await caller.say("Bye")).text == "Bye."
    for request in gemini.requests[3:]:
        assert results_in(request.body) == []
        assert 'You called fetch with {"city": "Rome"}. Its result: Sunny in Rome.' in caller_said(request.body)
    assert "1 tool steps are told in words: fetch" in caplog.text
    assert "Rome" not in caplog.text


async def test_m6_refused_in_mid_turn_it_goes_on_with_the_result(gemini: Gemini, caller: Caller, deeds: Tools) -> None:
    """The step of this turn is told in words too, and nothing is run again."""
    gemini.script(ORDER, error(400), text("Ordered."))
    assert (await caller.say("Soup")).text == "Ordered."
    assert "Its result: Ordered soup." in caller_said(gemini.requests[2].body)
    assert deeds.done("c1") == {"order began": 1, "order done": 1}


async def test_m6_refused_without_a_tool_call_in_it_only_the_newest_words_are_asked(
    gemini: Gemini, caller: Caller
) -> None:
    gemini.script(text("Hello."), error(400), text("Sunny."))
    await caller.say("Hi")
    assert (await caller.say("Weather?")).text == "Sunny."
    assert len(gemini.requests[2].body["contents"]) == 1
    assert "Weather?" in caller_said(gemini.requests[2].body)


async def test_m6_refused_after_a_call_that_was_told_in_words_the_callers_words_are_still_asked(
    gemini: Gemini, caller: Caller, deeds: Tools
) -> None:
    """With what has been done since."""
    wrong_name = calls(("default_api.order", {"thing": "soup"}), text="One moment. ")
    gemini.script(text("Hello."), wrong_name, error(400), text("It is ordered."))
    await caller.say("Hi")
    assert (await caller.say("Soup, please")).text == "One moment. It is ordered."
    [asked] = gemini.requests[-1].body["contents"]
    assert [words.split(":")[0] for words in said({"contents": [asked]}).split("\n")] == ["Soup, please", "⟦system"]
    assert "Ordered soup." in said({"contents": [asked]})
    assert deeds.done("c1")["order done"] == 1


async def test_m6_refused_again_it_ends_in_words_and_the_memory_stays(gemini: Gemini, caller: Caller) -> None:
    gemini.script(FETCH, text("Sunny."), error(400), error(400), text("Hello."))
    await caller.say("Weather in Rome?")
    assert (await caller.say("Thanks")).text == APOLOGY
    assert (await caller.say("Hello?")).text == "Hello."
    assert results_in(gemini.requests[4].body) == [("fetch", "Sunny in Rome.")]


# M7: names that are nearly right


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("default_api.fetch", {"city": "Rome"}),
        ("functions.fetch", {"city": "Rome"}),
        ("functions:fetch", {"city": "Rome"}),
        ("tools.default_api.fetch", {"city": "Rome"}),
        (" fetch ", {"city": "Rome"}),
        ("fetch(city='Rome')", {}),
        ("default_api.fetch(city='Rome')", {"city": "Rome"}),
        ("print(default_api.fetch(city='Rome', seconds=0.01))", {}),
    ],
)
async def test_m7_a_name_from_which_it_is_clear_which_tool_is_meant_is_that_tool(
    gemini: Gemini, caller: Caller, name: str, arguments: dict[str, Any]
) -> None:
    """No round trip is lost. The history names what is declared; the call is told in words, as its signature is for
    another name."""
    gemini.script(calls((name, arguments)), text("Sunny."), text("Bye."))
    reply = await caller.say("Weather in Rome?")
    assert reply.text == "Checking Rome. Sunny."
    assert "Its result: Sunny in Rome." in caller_said(gemini.requests[1].body)
    assert (await caller.say("Bye")).text == "Bye."
    only_names_what_is_declared(gemini)


@pytest.mark.parametrize("name", ["files.order", "order.fetch", "google.fetch", "Fetch", "fetched"])
async def test_m7_a_name_that_could_mean_something_else_is_refused_in_words(
    gemini: Gemini, caller: Caller, deeds: Tools, name: str
) -> None:
    gemini.script(calls((name, {"thing": "soup"})), text("Hm."))
    assert (await caller.say("Soup")).text == "Hm."
    assert f"Its result: There is no tool {name}. There are: " in caller_said(gemini.requests[1].body)
    assert not deeds.done("c1")
    only_names_what_is_declared(gemini)


async def test_m7_an_action_whose_name_was_mapped_is_journalled_under_its_own(
    gemini: Gemini, backend_: Backend, caller: Caller, deeds: Tools
) -> None:
    gemini.script(calls(("default_api.order", {"thing": "soup"})), text("Ordered."))
    reply = await caller.say("Soup", turn="t1")
    assert [data["tool"] for data in reply.data] == ["order", "order"]
    assert deeds.done("c1") == {"order began": 1, "order done": 1}


# M8: the same call twice


async def test_m8_the_same_call_twice_in_one_step_runs_once_and_both_get_the_result(
    gemini: Gemini, caller: Caller, deeds: Tools
) -> None:
    gemini.script(calls(("order", {"thing": "soup"}), ("order", {"thing": "soup"})), text("Ordered."))
    await caller.say("Soup")
    assert deeds.done("c1") == {"order began": 1, "order done": 1}
    assert results_in(gemini.requests[1].body) == [("order", "Ordered soup.")] * 2


async def test_m8_arguments_that_come_to_the_same_are_the_same(gemini: Gemini, caller: Caller, deeds: Tools) -> None:
    """In another order, and written otherwise."""
    both = calls(("order", {"thing": "soup", "seconds": 0.01}), ("order", {"seconds": "0.01", "thing": "soup"}))
    gemini.script(both, text("Ordered."))
    await caller.say("Soup")
    assert deeds.done("c1") == {"order began": 1, "order done": 1}


async def test_m8_two_different_actions_stay_two(gemini: Gemini, caller: Caller, deeds: Tools) -> None:
    gemini.script(calls(("order", {"thing": "soup"}), ("order", {"thing": "tea"}), ("pay", {})), text("Ordered."))
    await caller.say("Soup and tea")
    assert deeds.done("c1")["order done"] == 2
    assert [result for _, result in results_in(gemini.requests[1].body)] == ["Ordered soup.", "Ordered tea.", "Paid."]


async def test_m8_in_the_next_step_it_is_another_call(gemini: Gemini, caller: Caller, deeds: Tools) -> None:
    gemini.script(ORDER, ORDER, text("Twice."))
    await caller.say("Soup, and another one")
    assert deeds.done("c1")["order done"] == 2


async def test_m8_interrupted_while_it_runs_the_result_stands_once_it_is_there(
    gemini: Gemini, backend_: Backend, caller: Caller, deeds: Tools
) -> None:
    slow = ("order", {"thing": "soup", "seconds": 0.2})
    gemini.script(calls(slow, slow), text("Yes?"))
    turn = asyncio.create_task(caller.say("Soup"))
    await deeds.until("c1", "order began")
    turn.cancel()
    await quiet(backend_)
    await caller.say("Is it done?")
    first, second = (result for _, result in results_in(gemini.requests[1].body))
    assert first == "Ordered soup."
    assert second.startswith("The same call was made twice in this step")
    assert deeds.done("c1") == {"order began": 1, "order done": 1}


async def test_m8_the_same_question_twice_in_one_step_is_put_once(gemini: Gemini, caller: Caller, deeds: Tools) -> None:
    """And nothing but the question is said."""
    book = ("book", {"people": 4, "time": "7 pm"})
    gemini.script(calls(book, book), calls(("confirm", {"yes": True})), text("Booked."))
    assert (await caller.say("A table")).text == "Book a table for 4 at 7 pm?"
    await caller.say("Yes")
    assert deeds.done("c1")["book done"] == 1


# M9: a guess


@pytest.mark.parametrize("after", [" It is raining there.", "It is raining"])
async def test_m9_text_behind_a_call_is_a_guess_and_dropped(gemini: Gemini, caller: Caller, after: str) -> None:
    """Neither spoken nor remembered; what stands before the call is."""
    gemini.script(followed_by(calls(("fetch", {"city": "Rome"}), text="Let me look."), text(after)), text("Sunny."))
    assert (await caller.say("Weather in Rome?")).text == "Let me look. Sunny."
    assert "raining" not in str(gemini.requests[1].body["contents"])
    assert "Let me look." in str(gemini.requests[1].body["contents"])


@pytest.mark.parametrize("fast", [True, False], ids=["fast path", "library"])
async def test_m9_also_when_all_of_it_comes_in_one_event(gemini: Gemini, start: Any, deeds: Tools, fast: bool) -> None:
    """The order of its parts says which text stands behind the call."""
    parts = followed_by(calls(("fetch", {"city": "Rome"}), text="Let me look."), text(" It is raining."))
    at_once = Chunk(tuple(part for chunk in parts.chunks for part in chunk.parts))
    gemini.script(replace(parts, chunks=(at_once,)), text("Sunny."))
    caller = (await start(tools_dir=deeds.folder, gemini_fast=fast)).caller()
    assert (await caller.say("Weather in Rome?")).text == "Let me look. Sunny."
    shown = str(gemini.requests[1].body["contents"])
    assert "raining" not in shown
    assert "look." in shown


async def test_m9_with_thoughts_between_the_calls_all_of_them_run(gemini: Gemini, caller: Caller, deeds: Tools) -> None:
    later = thought("Also tea.", calls(("order", {"thing": "tea"}), signature=False))
    gemini.script(followed_by(followed_by(ORDER, text("It is ordered.")), later), text("Both."))
    assert (await caller.say("Soup and tea")).text == "Both."
    assert deeds.done("c1")["order done"] == 2


# M11: the limit of steps


def calling_off(body: dict[str, Any]) -> bool:
    return bool(body.get("toolConfig", {}).get("functionCallingConfig", {}).get("mode") == "NONE")


async def test_m11_at_the_limit_the_tools_stay_declared_and_calling_is_switched_off(
    gemini: Gemini, start: Any, deeds: Tools
) -> None:
    backend: Backend = await start(tools_dir=deeds.folder, max_tool_steps=1)
    gemini.script(ORDER, text("Ordered."), text("Bye."))
    caller = backend.caller("c1")
    assert (await caller.say("Soup")).text == "Ordered."
    await caller.say("Bye")
    assert [calling_off(request.body) for request in gemini.requests] == [False, True, False]
    assert {frozenset(offered(request.body)) for request in gemini.requests} == {
        frozenset({"fetch", "order", "pay", "book", "broken", "label", "stubborn", "confirm"})
    }


@pytest.mark.parametrize("answers", [[text("", finish="UNEXPECTED_TOOL_CALL")] * 2, [ORDER] * 2, [error(500)] * 2])
async def test_m11_what_a_tool_found_is_said_when_the_model_says_nothing(
    gemini: Gemini, start: Any, deeds: Tools, answers: list[Any]
) -> None:
    """Never the apology for an action that has succeeded."""
    backend: Backend = await start(tools_dir=deeds.folder, max_tool_steps=1)
    gemini.script(ORDER, *answers, text("Bye."))
    caller = backend.caller("c1")
    reply = await caller.say("Soup")
    assert reply.text == "Ordered soup."
    assert reply.ended_once
    assert deeds.done("c1") == {"order began": 1, "order done": 1}
    assert (await caller.say("Bye")).text == "Bye."


async def test_m11_a_result_that_cannot_be_read_out_is_told_as_done(gemini: Gemini, start: Any, tmp_path: Any) -> None:
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "tools.py").write_text(
        "from agent import voice_tool\n\n@voice_tool\nasync def send() -> dict:\n"
        '    """Send it."""\n    return {"id": 12, "state": "sent"}\n\n@voice_tool(on_barge_in="cancel")\n'
        'async def look() -> dict:\n    """Only reads."""\n    return {"id": 12}\n'
    )
    backend: Backend = await start(tools_dir=tmp_path / "json")
    gemini.script(calls(("send", {})), error(500), error(500), calls(("look", {})), error(500), error(500))
    assert (await backend.caller("c1").say("Send it")).text == "That is done."
    assert (await backend.caller("c2").say("Look it up")).text == APOLOGY


async def test_m11_words_that_come_with_a_call_at_the_limit_are_the_answer(
    gemini: Gemini, start: Any, deeds: Tools
) -> None:
    backend: Backend = await start(tools_dir=deeds.folder, max_tool_steps=1)
    gemini.script(ORDER, calls(("order", {"thing": "tea"}), text="The soup is ordered."), text("Bye."))
    caller = backend.caller("c1")
    assert (await caller.say("Soup")).text == "The soup is ordered."
    await caller.say("Bye")
    assert deeds.done("c1") == {"order began": 1, "order done": 1}


# M12: a history names only what is declared


async def test_m12_a_call_of_a_tool_that_is_gone_is_told_in_words(gemini: Gemini, start: Any, deeds: Tools) -> None:
    """Its file was deleted meanwhile; the rest of the conversation is as it was."""
    backend: Backend = await start(tools_dir=deeds.folder)
    gemini.script(FETCH, text("Sunny."), ORDER, text("Ordered."), text("You are welcome."))
    caller = backend.caller("c1")
    await caller.say("Weather in Rome?")
    await caller.say("Soup")
    file = deeds.folder / "tools.py"
    file.write_text(file.read_text().replace("async def fetch(", "async def look("))
    assert backend.agent
    await asyncio.to_thread(backend.agent.folder.refresh)
    assert (await caller.say("Thanks")).text == "You are welcome."
    body = gemini.requests[-1].body
    assert results_in(body) == [("order", "Ordered soup.")]
    assert 'You called fetch with {"city": "Rome"}. Its result: Sunny in Rome.' in caller_said(body)
    only_names_what_is_declared(gemini)


async def test_m12_confirm_is_declared_before_and_after_it_was_called(gemini: Gemini, caller: Caller) -> None:
    book = calls(("book", {"people": 4, "time": "7 pm"}))
    gemini.script(book, calls(("confirm", {"yes": True})), text("Booked."), *[text("Hm.")] * 3)
    for words in ("A table", "Yes", "Thanks", "And?", "Bye"):
        await caller.say(words)
    assert all("confirm" in offered(request.body) for request in gemini.requests)
    only_names_what_is_declared(gemini)


async def test_m12_confirm_with_nothing_to_confirm_is_answered_so(gemini: Gemini, caller: Caller, deeds: Tools) -> None:
    gemini.script(calls(("confirm", {"yes": True})), text("There is nothing."))
    assert (await caller.say("Yes")).text == "There is nothing."
    assert "there is nothing to confirm" in results_in(gemini.requests[1].body)[0][1]
    assert not deeds.done("c1")


async def test_m12_a_backend_without_such_a_tool_declares_none(gemini: Gemini, start: Any, tmp_path: Any) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "tools.py").write_text(
        'from agent import voice_tool\n\n@voice_tool\nasync def send() -> str:\n    """Send it."""\n    return ""\n'
    )
    backend: Backend = await start(tools_dir=tmp_path / "plain")
    gemini.script(text("Hello."))
    await backend.caller("c1").say("Hi")
    assert offered(gemini.requests[0].body) == {"send"}
