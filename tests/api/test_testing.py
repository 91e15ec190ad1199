"""The means for hand-written tests: a scripted model and a conversation in webhooks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from api.testing import UnexpectedModelCall, UnusedAnswers, call, conversation, expect, scripted_model
from tests.conftest import TOOLS


async def test_a_conversation_returns_words_tool_calls_and_data(tmp_path: Path) -> None:
    (tmp_path / "cart.py").write_text('''
from agent import voice_tool, show

@voice_tool(say="Adding {item}.")
async def add(item: str) -> str:
    """Add to the cart."""
    show({"cart": [item]})
    return "Added."
''')
    model = scripted_model(call("add", item="tea"), "Tea is in your cart.")
    async with conversation(model, tools=tmp_path) as talk:
        reply = await talk.say("Some tea, please")
    assert reply.text == "Adding tea. Tea is in your cart."
    assert reply.tool_calls == [("add", {"item": "tea"})]
    assert reply.data == [{"cart": ["tea"]}]


async def test_a_booking_is_made_only_after_a_yes() -> None:
    model = scripted_model(
        call("book_table", people=4, time="19:00", date="tomorrow"), call("confirm", yes=True), "It is booked."
    )
    async with conversation(model, tools=TOOLS) as talk:
        asked = await talk.say("A table for four, tomorrow at seven")
        done = await talk.say("Yes")
    assert asked.text == "Book a table for 4 tomorrow at 19:00?"
    assert asked.tool_calls == []
    assert done.tool_calls == [("book_table", {"people": 4, "time": "19:00", "date": "tomorrow"})]
    assert done.text == "Booking your table. It is booked."


async def test_parallel_calls_are_a_list() -> None:
    model = scripted_model([call("clock", place="Tokyo"), call("clock", place="Oslo")], "There.")
    async with conversation(model, tools=TOOLS) as talk:
        reply = await talk.say("Tokyo and Oslo?")
    assert [arguments["place"] for _, arguments in reply.tool_calls] == ["Tokyo", "Oslo"]


async def test_hanging_up_and_what_was_heard_of_it() -> None:
    model = scripted_model("one two three four five", "Go on.")
    async with conversation(model, tools=TOOLS, welcome="Hello.") as talk:
        assert (await talk.begin()).text == "Hello."
        cut = await talk.say("Count", hang_up_after=2)
        assert cut.hung_up
        await talk.send_data({"page": 2})
        assert (await talk.say("And?", heard=(cut, "one"))).text == "Go on."


async def test_a_call_too_many_is_an_unexpected_model_call() -> None:
    with pytest.raises(UnexpectedModelCall):
        async with conversation(scripted_model(), tools=TOOLS) as talk:
            await talk.say("Hello?")


async def test_an_answer_never_asked_for_is_an_unused_answer() -> None:
    with pytest.raises(UnusedAnswers):
        async with conversation(scripted_model("One.", "Two."), tools=TOOLS) as talk:
            await talk.say("Hello?")


async def test_what_is_expected_of_a_reply_and_of_the_conversation() -> None:
    model = scripted_model(
        call("book_table", people=4, time="19:00", date="tomorrow"), call("confirm", yes=True), "It is booked.",
        [call("list_bookings"), call("list_bookings")], "One table.",
    )  # fmt: skip
    async with conversation(model) as talk:
        asked = await talk.say("A table for four, tomorrow at seven")
        done = await talk.say("Yes")
        await talk.say("What have I booked?")
    expect(asked).not_called("book_table").nothing_else_called().heard("book a table for 4")
    expect(done).called("book_table", people=4).once().nothing_else_called().heard("it is BOOKED").not_heard("sorry")
    expect(talk).called("book_table").then_called("list_bookings").nothing_else_called().first_words_within(60)


async def test_what_is_not_as_expected_prints_the_conversation() -> None:
    model = scripted_model(
        call("book_table", people=4, time="19:00", date="tomorrow"), call("confirm", yes=True), "Ok."
    )
    async with conversation(model) as talk:
        asked = await talk.say("A table for four, tomorrow at seven")
        done = await talk.say("Yes")
    failures: list[tuple[Callable[[], object], str]] = [
        (lambda: expect(asked).called("book_table"), "book_table() did not run"),
        (lambda: expect(done).called("book_table", people=5), "book_table(people=5) did not run"),
        (lambda: expect(done).called("book_table").times(2), "book_table() ran 1 times, and not 2"),
        (lambda: expect(done).not_called("book_table", people=4), "book_table(people=4) ran"),
        (lambda: expect(done).nothing_else_called(), "book_table(people=4, time='19:00', date='tomorrow') ran"),
        (lambda: expect(done).called("book_table").then_called("book_table"), "book_table() did not run after book_"),
        (lambda: expect(talk).heard("Goodbye"), 'the caller did not hear "Goodbye"'),
        (lambda: expect(talk).not_heard("book a table"), 'the caller heard "book a table"'),
        (lambda: expect(done).first_words_within(-1), "the first words came after 0."),
    ]
    for failing, cause in failures:
        with pytest.raises(AssertionError) as error:
            failing()
        first, empty, *lines = str(error.value).splitlines()
        assert first.startswith(cause)
        assert (empty, len(lines)) == ("", 5)
        assert lines[0].endswith("caller  A table for four, tomorrow at seven")
        assert lines[-1].endswith("agent   Booking your table. Ok.")
    with pytest.raises(ValueError, match="name a tool first"):
        expect(done).once()


async def test_no_test_reaches_a_live_model() -> None:
    async with httpx.AsyncClient() as http:
        with pytest.raises(httpx.ConnectError, match="mark it `live`"):
            await http.get("https://generativelanguage.googleapis.com/")
