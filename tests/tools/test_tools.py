"""The tools that are shipped, run as the agent runs them: real sockets, a real database, a fixed clock."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import httpx
import pytest

from agent import ToolContext, VoiceTool, use_context
from agent.storage.open import open_storage
from agent.tooling.decorator import fill
from tests.support.services import Mode, Services, services
from tools import _http
from tools import bookings as bookings_module
from tools import clock as clock_module
from tools.bookings import book_table, cancel_booking, list_bookings
from tools.clock import ALSO_KNOWN, clock
from tools.lookup import lookup, shorten
from tools.weather import SKIES, weather

SUNDAY_NOON = dt.datetime(2026, 11, 22, 12, 5)
READS: list[tuple[VoiceTool, dict[str, str]]] = [(weather, {"city": "Berlin"}), (lookup, {"topic": "Ada"})]


@pytest.fixture(scope="module")
def server() -> Iterator[Services]:
    with services() as running:
        yield running


@pytest.fixture
def outside(server: Services, monkeypatch: pytest.MonkeyPatch) -> Services:
    """The outside world, in good health."""
    server.reset()
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
async def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ToolContext]:
    """A call by phone, at Sunday noon."""
    monkeypatch.setattr(clock_module, "now", lambda: SUNDAY_NOON.replace(tzinfo=dt.UTC))
    monkeypatch.setattr(bookings_module, "now", lambda: SUNDAY_NOON)
    async with AsyncExitStack() as stack:
        storage = await stack.enter_async_context(open_storage(f"sqlite:///{tmp_path}/t.db"))
        http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        yield ToolContext(
            call_id="call-1",
            conversation_id="conversation-1",
            caller="+4930123456",
            metadata={},
            http=http,
            database=storage.database,
            say=lambda _: None,
            show=lambda _: None,
        )


async def run(tool: VoiceTool, context: ToolContext, /, **arguments: Any) -> str:
    """As the agent calls a tool."""
    with use_context(context):
        answer = await tool.ainvoke(arguments)
    assert isinstance(answer, str)
    return answer


async def table(context: ToolContext, call_id: str = "call-1", **arguments: Any) -> str:
    return await run(book_table, replace(context, call_id=call_id), **{"people": 4, "time": "19:00"} | arguments)


async def rows(context: ToolContext) -> int:
    [[count]] = await context.database.fetch("SELECT count(*) FROM bookings")
    return int(count)


async def number_of(context: ToolContext, call_id: str) -> int:
    [[number]] = await context.database.fetch("SELECT number FROM bookings WHERE call_id = ?", call_id)
    return int(number)


def unused_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}"


# Every tool


@pytest.mark.parametrize(
    ("tool", "policy"),
    [
        (clock, "cancel"),
        (weather, "cancel"),
        (lookup, "cancel"),
        (list_bookings, "cancel"),
        (book_table, "finish"),
        (cancel_booking, "finish"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_an_interruption_stops_what_only_reads_and_never_an_action(tool: VoiceTool, policy: str) -> None:
    assert tool.options.on_barge_in == policy


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        (clock, ["time", "day"]),
        (weather, ["weather", "forecast", "temperature", "rain"]),
        (lookup, ["look up", "who", "what"]),
        (book_table, ["book", "table", "reserve"]),
        (list_bookings, ["list", "bookings"]),
        (cancel_booking, ["cancel", "booking"]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_description_has_the_words_that_callers_use(tool: VoiceTool, words: list[str]) -> None:
    described = f"{tool.name} {tool.description}".lower()
    assert [word for word in words if word not in described] == []


def test_the_question_before_a_booking_reads_well_with_and_without_a_date() -> None:
    question = book_table.options.confirm or ""
    assert fill(question, {"people": 4, "time": "7pm"}, "en") == "Book a table for 4 at 7pm?"
    assert fill(question, {"people": 4, "time": "7pm", "date": "tomorrow"}, "en") == (
        "Book a table for 4 tomorrow at 7pm?"
    )


# clock


async def test_the_time_is_a_sentence_for_the_ear(context: ToolContext) -> None:
    assert await run(clock, context, place="Tokyo") == "It is 21:05 on Sunday, 22 November in Tokyo."


@pytest.mark.parametrize(
    ("place", "heard"),
    [
        ("new york", "07:05 on Sunday, 22 November in New York."),
        ("Asia/Tokyo", "21:05 on Sunday, 22 November in Tokyo."),
        ("utc", "12:05 on Sunday, 22 November in UTC."),
        ("San Francisco", "04:05 on Sunday, 22 November in San Francisco."),
        ("munich", "13:05 on Sunday, 22 November in Munich."),
        ("Beijing", "20:05 on Sunday, 22 November in Beijing."),
        ("India", "17:35 on Sunday, 22 November in India."),
        ("Japan", "21:05 on Sunday, 22 November in Japan."),
        ("Germany", "13:05 on Sunday, 22 November in Germany."),
        ("São Paulo", "09:05 on Sunday, 22 November in Sao Paulo."),
        ("St. John's", "08:35 on Sunday, 22 November in St Johns."),
        ("Port au Prince", "07:05 on Sunday, 22 November in Port-au-Prince."),
        ("Auckland", "01:05 on Monday, 23 November in Auckland."),
        ("Osaka, Japan", "21:05 on Sunday, 22 November in Osaka."),
        ("Springfield, Japan", "21:05 on Sunday, 22 November in Japan."),
        ("Paris, Texas", "06:05 on Sunday, 22 November in Texas."),
    ],
)
async def test_a_place_is_known_by_city_country_or_zone(context: ToolContext, place: str, heard: str) -> None:
    assert await run(clock, context, place=place) == f"It is {heard}"


@pytest.mark.parametrize("place", ["Atlantis", "USA", "", " , ", "localtime", "../../etc/passwd", "GMT+5"])
async def test_an_unknown_place_makes_the_model_ask_for_a_city(context: ToolContext, place: str) -> None:
    assert "Ask for a large city" in await run(clock, context, place=place)


def test_every_zone_with_other_names_exists() -> None:
    assert ALSO_KNOWN.keys() <= available_timezones()


# weather


async def test_the_weather_is_now_and_three_days(context: ToolContext, outside: Services) -> None:
    assert await run(weather, context, city="Berlin") == (
        "In Berlin, Germany it is 8 degrees Celsius now, feels like 4, light rain, "
        "wind 14 kilometres per hour. "
        "Today: rain, 4 to 9 degrees, 85 percent chance of rain or snow. "
        "Tomorrow: overcast, 1 to 6 degrees, 20 percent chance of rain or snow. "
        "The day after tomorrow: clear sky, -4 to 2 degrees."
    )


async def test_the_city_and_its_coordinates_are_what_is_asked_for(context: ToolContext, outside: Services) -> None:
    await run(weather, context, city=" Paris, Texas & more ")
    [geocoding, forecast] = [httpx.URL(path) for path, _ in outside.requests]
    assert dict(geocoding.params) == {
        "name": "Paris, Texas & more",
        "count": "1",
        "language": "en",
        "format": "json",
    }
    assert dict(forecast.params) == {
        "latitude": "52.52437",
        "longitude": "13.41053",
        "current": "temperature_2m,apparent_temperature,weather_code,wind_speed_10m",
        "daily": "weather_code,temperature_2m_max,temperature_2m_min,precipitation_probability_max",
        "timezone": "auto",
        "forecast_days": "3",
    }


async def test_an_unknown_city_makes_the_model_ask(context: ToolContext, outside: Services) -> None:
    outside.mode = "not_found"
    answer = await run(weather, context, city="Atlantis")
    assert answer == "The weather service knows no place called Atlantis. Ask which city is meant."


def test_every_sky_that_open_meteo_documents_has_words() -> None:
    documented = "0 1 2 3 45 48 51 53 55 56 57 61 63 65 66 67 71 73 75 77 80 81 82 85 86 95 96 99"
    assert SKIES.keys() == {int(code) for code in documented.split()}


# lookup


async def test_a_lookup_gives_the_articles_beginning(context: ToolContext, outside: Services) -> None:
    answer = await run(lookup, context, topic="Ada Lovelace")
    assert answer == "Augusta Ada King, Countess of Lovelace, was an English mathematician and writer."


async def test_wikipedia_is_told_who_asks(context: ToolContext, outside: Services) -> None:
    await run(lookup, context, topic="Ada Lovelace")
    assert all("voice-agent-backend" in headers["user-agent"] for _, headers in outside.requests)
    assert len(outside.requests) == 2


async def test_an_articles_key_is_one_part_of_the_path(context: ToolContext, outside: Services) -> None:
    outside.page["key"] = "AC/DC_(Ç?)"
    await run(lookup, context, topic="AC/DC")
    assert outside.requests[-1][0] == "/api/rest_v1/page/summary/AC%2FDC_%28%C3%87%3F%29?"


async def test_a_moved_article_is_followed(context: ToolContext, outside: Services) -> None:
    outside.page["key"] = "Moved"
    assert "mathematician" in await run(lookup, context, topic="ada")


@pytest.mark.parametrize("at", ["/search/page", "/summary/"])
async def test_an_unknown_topic_makes_the_model_ask(context: ToolContext, outside: Services, at: str) -> None:
    """Whether the search finds nothing, or the article is gone when it is asked for."""
    outside.mode, outside.at = "not_found", at
    answer = await run(lookup, context, topic="Xyzzyx")
    assert answer == "Wikipedia has nothing about Xyzzyx. Ask the caller for other words."


async def test_an_empty_topic_or_article_has_nothing(context: ToolContext, outside: Services) -> None:
    outside.summary |= {"type": "no-extract", "extract": ""}
    assert "nothing about" in await run(lookup, context, topic="Ada")
    outside.requests.clear()
    assert "nothing about that" in await run(lookup, context, topic="  ")
    assert outside.requests == []


async def test_a_word_with_several_meanings_makes_the_model_ask(context: ToolContext, outside: Services) -> None:
    outside.summary |= {
        "type": "disambiguation",
        "title": "Mercury",
        "extract": "Mercury most commonly refers to:",
    }
    assert "several meanings; ask which one" in await run(lookup, context, topic="Mercury")


async def test_a_long_article_is_cut_at_a_sentences_end(context: ToolContext, outside: Services) -> None:
    outside.summary["extract"] = "It measured 3.5 miles, she said. " * 40
    answer = await run(lookup, context, topic="Ada")
    assert 600 < len(answer) <= 700
    assert answer.endswith("she said.")


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("One. Two.", "One. Two."),
        ("One two. Three four.", "One two."),
        ("Is it so? Yes indeed.", "Is it so?"),
        ("He said “no.” And left.", "He said “no.”"),
        ("Exactly 12. More words.", "Exactly 12."),
        ("About 3.5 million people", "About 3.5…"),
        ("word " * 9, "word word…"),
        ("x" * 20, "…"),
    ],
)
def test_text_is_cut_where_a_sentence_or_a_word_ends(text: str, short: str) -> None:
    assert shorten(text, 13 if short != "Exactly 12." else 11) == short


# weather and lookup, when the service is unwell


@pytest.mark.parametrize(("tool", "arguments"), READS, ids=["weather", "lookup"])
@pytest.mark.parametrize("step", [0, 1], ids=["first request", "second request"])
@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("error", "is out of order at the moment"),
        ("busy", "is asked too often at the moment"),
        ("slow", "did not answer in time"),
        ("drip", "did not answer in time"),
        ("html", "gave an answer that makes no sense"),
        ("truncated", "gave an answer that makes no sense"),
        ("wrong_types", "gave an answer that makes no sense"),
    ],
)
async def test_a_sick_service_is_a_sentence_that_gives_nothing_away(
    context: ToolContext,
    outside: Services,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tool: VoiceTool,
    arguments: dict[str, str],
    step: int,
    mode: Mode,
    told: str,
) -> None:
    monkeypatch.setattr(_http, "TIME_LIMIT", 0.15 if mode in ("slow", "drip") else 3.5)
    caplog.set_level(logging.INFO, logger="tools")
    outside.mode, outside.at = mode, ("/search", "/forecast" if tool is weather else "/summary")[step]
    answer = await run(tool, context, **arguments)
    assert answer == (
        f"{'The weather service' if tool is weather else 'Wikipedia'} {told}. "
        "Tell the caller, and offer to try again later."
    )
    assert len(outside.requests) == step + 1
    assert "127.0.0.1" not in caplog.text
    assert "Berlin" not in caplog.text


@pytest.mark.parametrize(("tool", "arguments"), READS, ids=["weather", "lookup"])
@pytest.mark.parametrize("kind", ["nobody listens", "not an address"])
async def test_an_unreachable_service_is_a_sentence(
    context: ToolContext,
    monkeypatch: pytest.MonkeyPatch,
    tool: VoiceTool,
    arguments: dict[str, str],
    kind: str,
) -> None:
    address = unused_address() if kind == "nobody listens" else "x://:y"
    for name in ("WEATHER_GEOCODING_URL", "WIKIPEDIA_URL"):
        monkeypatch.setenv(name, address)
    assert "cannot be reached at the moment" in await run(tool, context, **arguments)


def test_two_requests_fit_into_a_tools_time_limit() -> None:
    for tool, _ in READS:
        assert tool.options.timeout > 2 * _http.TIME_LIMIT


# bookings


async def test_a_booking_is_made_and_listed(context: ToolContext) -> None:
    booked = await table(context, name="Ada")
    number = await number_of(context, "call-1")
    assert 100 <= number <= 999
    details = f"number {number}, for 4 people on Sunday, 22 November at 19:00 under the name Ada."
    assert booked == f"The table is booked: {details}"
    assert await run(list_bookings, context) == f"The caller's bookings: {details}"


@pytest.mark.parametrize("date", ["tomorrow", "2026-11-23"])
async def test_the_same_call_again_is_the_same_booking(
    context: ToolContext, monkeypatch: pytest.MonkeyPatch, date: str
) -> None:
    """Also days later, when "tomorrow" is another day and the time has passed."""
    first = await table(context, date=date)
    assert await table(context, date=date) == first
    monkeypatch.setattr(bookings_module, "now", lambda: SUNDAY_NOON + dt.timedelta(days=7))
    assert await table(context, date=date) == first
    assert await rows(context) == 1


async def test_the_same_call_at_the_same_time_is_one_booking(context: ToolContext) -> None:
    answers = await asyncio.gather(*(table(context) for _ in range(8)))
    assert len(set(answers)) == 1
    assert await rows(context) == 1


async def test_two_calls_are_two_bookings(context: ToolContext) -> None:
    await table(context)
    await table(context, "call-2", people=1, date="tomorrow")
    listed = await run(list_bookings, context)
    assert listed.index("4 people on Sunday") < listed.index("1 person on Monday")


async def test_a_caller_never_has_one_number_twice(context: ToolContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bookings_module, "_numbers", lambda _: iter([100, 101]))
    await table(context)
    await table(context, "call-2")
    assert [await number_of(context, call) for call in ("call-1", "call-2")] == [100, 101]


def test_numbers_are_of_the_call_and_grow_when_short_ones_are_taken() -> None:
    numbers = list(bookings_module._numbers("call-1"))
    assert numbers == list(bookings_module._numbers("call-1"))
    assert numbers[0] != next(bookings_module._numbers("call-2"))
    assert [len(str(number)) for number in islice(numbers, 0, None, 8)] == [3, 4, 5]


@pytest.mark.parametrize("stranger", [{"caller": "+4930999999"}, {"caller": None}])
async def test_bookings_belong_to_the_caller(context: ToolContext, stranger: dict[str, Any]) -> None:
    await table(context)
    other = replace(context, **stranger)
    assert await run(list_bookings, other) == "The caller has no bookings ahead."
    answer = await run(cancel_booking, other, number=await number_of(context, "call-1"))
    assert answer.startswith("The caller has no booking with that number.")
    assert "people" in await run(list_bookings, context)


async def test_without_a_phone_number_bookings_belong_to_the_conversation(context: ToolContext) -> None:
    web = replace(context, caller=None)
    await table(web)
    assert "4 people" in await run(list_bookings, web)
    elsewhere = replace(web, conversation_id="conversation-2")
    assert await run(list_bookings, elsewhere) == "The caller has no bookings ahead."


async def test_a_phone_number_is_no_conversation(context: ToolContext) -> None:
    """A web visitor who names a conversation after someone's number gets nothing by it."""
    await table(context)
    impostor = replace(context, caller=None, conversation_id=str(context.caller))
    assert await run(list_bookings, impostor) == "The caller has no bookings ahead."


async def test_the_next_conversation_of_a_phone_finds_its_bookings(context: ToolContext) -> None:
    await table(context)
    later = replace(context, conversation_id="conversation-2", call_id="call-9")
    assert "4 people" in await run(list_bookings, later)


@pytest.mark.parametrize(
    ("time", "kept"),
    [
        ("19:00", "19:00"),
        ("19.30", "19:30"),
        ("19:30:00", "19:30"),
        ("19", "19:00"),
        ("7pm", "19:00"),
        ("7:30 pm", "19:30"),
        ("7 P.M.", "19:00"),
        ("12:15 am", "00:15"),
        ("12 pm", "12:00"),
        ("09:00", "09:00"),
    ],
)
async def test_a_time_may_be_said_in_several_ways(context: ToolContext, time: str, kept: str) -> None:
    assert f"Monday, 23 November at {kept}." in await table(context, time=time, date="tomorrow")


@pytest.mark.parametrize(
    ("date", "kept"),
    [
        ("today", "Sunday, 22 November"),
        ("", "Sunday, 22 November"),
        ("Tomorrow ", "Monday, 23 November"),
        ("sunday", "Sunday, 22 November"),
        ("Saturday", "Saturday, 28 November"),
        ("2026-12-24", "Thursday, 24 December"),
    ],
)
async def test_a_date_may_be_said_in_several_ways(context: ToolContext, date: str, kept: str) -> None:
    assert f"on {kept} at 19:00." in await table(context, date=date)


@pytest.mark.parametrize(
    ("arguments", "asks"),
    [
        ({"people": 0}, "Ask how many"),
        ({"people": -2}, "Ask how many"),
        ({"people": 21}, "Ask how many"),
        ({"time": "7"}, "ask whether 7 in the morning or in the evening"),
        ({"time": "in the evening"}, "the time is unclear"),
        ({"time": ""}, "the time is unclear"),
        ({"time": "25:00"}, "no such time"),
        ({"time": "19:60"}, "no such time"),
        ({"time": "13pm"}, "no such time"),
        ({"time": "0pm"}, "no such time"),
        ({"time": "12:05"}, "that time has passed"),
        ({"time": "9am"}, "that time has passed"),
        ({"date": "2025-11-23"}, "that time has passed"),
        ({"date": "2062-11-23"}, "up to a year ahead"),
        ({"date": "2026-02-30"}, "the date is unclear"),
        ({"date": "soon"}, "the date is unclear"),
    ],
)
async def test_what_cannot_be_booked_makes_the_model_ask(
    context: ToolContext, arguments: dict[str, Any], asks: str
) -> None:
    answer = await table(context, **arguments)
    assert answer.startswith("Not booked: ")
    assert asks in answer
    assert await rows(context) == 0


@pytest.mark.parametrize("said", [str, int, "number {}".format, lambda number: " ".join(str(number))])
async def test_a_cancelled_booking_is_cancelled_once(context: ToolContext, said: Any) -> None:
    await table(context)
    number = said(await number_of(context, "call-1"))
    assert (await run(cancel_booking, context, number=number)).startswith("Cancelled: number ")
    assert (await run(cancel_booking, context, number=number)).startswith("It is already cancelled: number ")
    assert await run(list_bookings, context) == "The caller has no bookings ahead."


async def test_a_booking_run_again_after_its_cancellation_stays_cancelled(context: ToolContext) -> None:
    await table(context)
    await run(cancel_booking, context, number=await number_of(context, "call-1"))
    assert "has since been cancelled" in await table(context)
    assert await rows(context) == 1


@pytest.mark.parametrize("number", [99, "", "the second one", "9" * 40])
async def test_an_unknown_number_lists_what_there_is(context: ToolContext, number: int | str) -> None:
    await table(context)
    answer = await run(cancel_booking, context, number=number)
    assert answer.startswith("The caller has no booking with that number. The caller's bookings: number ")


async def test_past_bookings_are_not_listed(context: ToolContext, monkeypatch: pytest.MonkeyPatch) -> None:
    await table(context)
    monkeypatch.setattr(bookings_module, "now", lambda: SUNDAY_NOON + dt.timedelta(days=1))
    assert await run(list_bookings, context) == "The caller has no bookings ahead."


async def test_a_list_is_no_longer_than_one_can_listen_to(context: ToolContext) -> None:
    for call in range(12):
        await table(context, f"call-{call}")
    assert (await run(list_bookings, context)).count("number ") == 10


def test_the_restaurants_clock_is_the_servers() -> None:
    assert abs(bookings_module.now() - dt.datetime.now()) < dt.timedelta(seconds=5)


# The local services themselves


def test_the_services_stop_with_clients_still_connected() -> None:
    with services() as running, httpx.Client(base_url=running.base_url, trust_env=False) as client:
        assert client.get("/v1/search", params={"name": "Berlin"}).status_code == 200
        address = httpx.URL(running.base_url)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.host, address.port or 0), timeout=1)
