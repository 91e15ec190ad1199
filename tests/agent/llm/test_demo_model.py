"""The model for the first minute: it understands nothing, and calls the tool that is meant all the same."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import BaseTool, tool

from agent.llm.demo import DemoModel
from agent.llm.demo_sentence import UNCLEAR, find_date, find_number, find_time
from agent.memory.confirmation import _confirm as confirm
from agent.tooling.folder import ToolFolder

NOTICE = "This is the demo: no language model, only your tools."


@pytest.fixture(scope="module")
def tools() -> list[BaseTool]:
    """The tools that come with the project."""
    folder = ToolFolder(Path(__file__).parents[3] / "tools")
    folder.load()
    return list(folder.tools.values())


async def answer(tools: list[BaseTool], *messages: AnyMessage) -> Any:
    """The streamed answer, put together."""
    stream = DemoModel(word_delay=0).bind_tools(tools).astream([SystemMessage("Be kind."), *messages])
    chunks = [chunk async for chunk in stream]
    return sum(chunks[1:], start=chunks[0])


async def called(tools: list[BaseTool], question: str) -> tuple[str, dict[str, Any]] | None:
    calls = (await answer(tools, HumanMessage(question))).tool_calls
    return (calls[0]["name"], calls[0]["args"]) if calls else None


@pytest.mark.parametrize(
    ("question", "name", "arguments"),
    [
        ("What time is it in Tokyo?", "clock", {"place": "Tokyo"}),
        ("What time is it in Sydney right now?", "clock", {"place": "Sydney"}),
        ("what time is it in New York, please?", "clock", {"place": "New York"}),
        ("Can you tell me the time in Lima?", "clock", {"place": "Lima"}),
        ("What's the weather in Paris?", "weather", {"city": "Paris"}),
        ("What is the weather like in San Francisco tomorrow?", "weather", {"city": "San Francisco"}),
        ("Book a table for 4 at 19:00", "book_table", {"people": 4, "time": "19:00"}),
        (
            "Book a table for four at 7:30 pm tomorrow",
            "book_table",
            {"people": 4, "time": "7:30 pm", "date": "tomorrow"},
        ),
        ("Reserve a table for two on Friday at 8pm", "book_table", {"people": 2, "time": "8pm", "date": "Friday"}),
        (
            "Book a table for four tomorrow at seven pm",
            "book_table",
            {"people": 4, "time": "7 pm", "date": "tomorrow"},
        ),
        ("What are my bookings?", "list_bookings", {}),
        ("Cancel my booking number 3", "cancel_booking", {"number": 3}),
        ("Who was Ada Lovelace?", "lookup", {"topic": "Ada Lovelace"}),
        ("Look up the Eiffel Tower", "lookup", {"topic": "Eiffel Tower"}),
    ],
)
async def test_a_question_calls_the_tool_that_is_meant(
    tools: list[BaseTool], question: str, name: str, arguments: dict[str, Any]
) -> None:
    assert await called(tools, question) == (name, arguments)


@pytest.mark.parametrize(
    ("said", "time"),
    [
        ("at seven pm", "7 pm"), ("at 7:30 p.m. please", "7:30 p.m."), ("at 8pm.", "8pm"), ("at 19:00", "19:00"),
        ("at half past seven in the evening", "7:30 pm"), ("tonight at seven thirty", "7:30 pm"),
        ("quarter to one pm", "12:45 pm"), ("at a quarter past nine in the morning", "9:15 am"),
        ("at nine o'clock tomorrow morning", "9 am"), ("seven forty-five p.m.", "7:45 pm"), ("at noon", "12:00"),
        ("at 7:30 in the evening", "7:30 pm"), ("at 19 tonight", "19:00"),
        ("at seven", UNCLEAR), ("at twelve tonight", UNCLEAR), ("a table for two", None), ("at the harbour", None),
    ],
)  # fmt: skip
def test_times_are_understood_in_figures_and_in_words(said: str, time: str | None) -> None:
    assert find_time(said) == time


def test_days_are_understood_in_words_and_by_the_calendar() -> None:
    today = dt.datetime.now().astimezone().date()
    assert find_date("a table tonight") == "today"
    assert find_date("on Friday") == "Friday"
    assert find_date("the day after tomorrow") == (today + dt.timedelta(days=2)).isoformat()
    assert find_date(f"on the {today.day}th of {today:%B}") == find_date(f"{today:%B} {today.day}") == today.isoformat()
    assert find_date("next week") == find_date("in two days") == find_date("on the 31st of February") == UNCLEAR
    assert find_date("may I book a table") is None


def test_the_numbers_of_times_and_days_count_nothing_else() -> None:
    assert find_number("at seven thirty pm on November 23rd for four") == 4
    assert find_number("tomorrow at 19:00") is None


@pytest.mark.parametrize(
    ("question", "missing"),
    [
        ("Book a table for four tomorrow", "time"),
        ("Book a table for four at seven", "time"),
        ("Book a table at seven pm", "people"),
        ("Book a table for four next week at seven pm", "date"),
        ("Book a table", "people and time"),
        ("Cancel my booking", "number"),
    ],
)
async def test_what_is_missing_is_asked_for(tools: list[BaseTool], question: str, missing: str) -> None:
    reply = await answer(tools, HumanMessage(question))
    assert not reply.tool_calls
    assert f"I did not understand this: {missing}." in reply.text


async def test_data_from_the_page_before_the_question_is_not_the_question(tools: list[BaseTool]) -> None:
    question = '⟦system: The caller\'s page sent this data: {"weather":"Rome"}⟧\nWhat time is it in Tokyo?'
    assert await called(tools, question) == ("clock", {"place": "Tokyo"})


async def test_any_tool_of_yours_is_called_by_its_words() -> None:
    @tool
    def tides(harbour: str) -> str:
        """Next high and low water at a harbour."""
        return harbour

    @tool
    def paint(colour: str, coats: int, glossy: bool, thinner: str | None = None) -> str:
        """Paint the boat."""
        return colour

    mine: list[BaseTool] = [tides, paint]
    assert await called(mine, "When is high water in Dover?") == ("tides", {"harbour": "Dover"})
    assert await called(mine, "Tides at Brest") == ("tides", {"harbour": "Brest"})
    assert await called(mine, "Paint it with 2 coats of Red") == (
        "paint",
        {"colour": "Red", "coats": 2, "glossy": True},
    )


@pytest.mark.parametrize("question", ["Hello", "What can you do?", "Sing a song", "…", "12"])
async def test_without_a_tool_for_it_it_says_what_there_is(tools: list[BaseTool], question: str) -> None:
    text = (await answer(tools, HumanMessage(question))).text
    for name in ("clock", "weather", "book table"):
        assert name in text


async def test_without_any_tools_it_still_answers() -> None:
    assert "none" in (await answer([], HumanMessage("Hello"))).text


async def test_it_says_that_it_is_a_demo_in_its_first_answer_only(tools: list[BaseTool]) -> None:
    first = await answer(tools, HumanMessage("Hello"))
    assert first.text.startswith(NOTICE)
    second = await answer(tools, HumanMessage("Hello"), AIMessage(first.text), HumanMessage("Hello?"))
    assert NOTICE not in second.text


async def test_it_answers_from_what_the_tools_returned_word_by_word(tools: list[BaseTool]) -> None:
    call = {"name": "clock", "args": {}, "id": "1", "type": "tool_call"}
    messages = [
        HumanMessage("Time in Oslo?"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("It is ten.", tool_call_id="1"),
    ]
    stream = DemoModel(word_delay=0).bind_tools(tools).astream(messages)
    words = [chunk.text async for chunk in stream if chunk.text]
    assert "".join(words) == f"{NOTICE} It is ten."
    assert words[-3:] == [" It", " is", " ten."]


@pytest.mark.parametrize(
    ("reply", "yes"),
    [
        ("Yes", True), ("yes please", True), ("Okay, do it", True), ("Sure!", True), ("No", False),
        ("No thanks", False), ("Don't", False), ("Please don’t", False), ("Yes... no, cancel it", False),
    ],
)  # fmt: skip
async def test_yes_and_no_answer_a_question_that_waits(tools: list[BaseTool], reply: str, yes: bool) -> None:
    assert await called([*tools, confirm], reply) == ("confirm", {"yes": yes})


async def test_another_question_leaves_the_waiting_one_alone(tools: list[BaseTool]) -> None:
    assert await called([*tools, confirm], "What time is it in Tokyo?") == ("clock", {"place": "Tokyo"})
    assert await called([*tools, confirm], "Hello") is None


async def test_yes_without_a_question_that_waits_calls_nothing(tools: list[BaseTool]) -> None:
    assert await called(tools, "Yes") is None


async def test_it_answers_in_one_piece_too(tools: list[BaseTool]) -> None:
    made = await DemoModel().bind_tools(tools).ainvoke([HumanMessage("What time is it in Tokyo?")])
    assert made.tool_calls[0]["name"] == "clock"


def test_it_stays_small() -> None:
    assert len((Path(__file__).parents[3] / "agent" / "llm" / "demo.py").read_text().splitlines()) < 160
