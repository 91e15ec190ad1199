"""What the caller hears of what a model writes: the cases S1 to S6 and S11, over the wire."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.backend import Reply
from tests.support.conversation import answers_in, requests_for
from tests.support.gemini import Gemini, text


async def heard(gemini: Gemini, start: Any, written: str) -> Reply:
    """The reply to a caller of a model that writes this, in pieces of a few characters."""
    gemini.script(text(written, tokens=max(1, len(written) // 4)))
    reply: Reply = await (await start()).caller().say("Hello?")
    assert reply.ended_once
    return reply


def cases(*pairs: tuple[str, str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("written", "spoken"), pairs, ids=[repr(pair[0]) for pair in pairs])


@cases(
    ("It takes 1~3 days and costs ~20 euros.", "It takes 1~3 days and costs ~20 euros."),
    ("Please dial *67 first.", "Please dial *67 first."),
    ("Tonight:\n- 5 degrees", "Tonight:\n-5 degrees"),
    ("Open file_name.txt in C++, if a < b.", "Open file_name.txt in C++, if a < b."),
)
async def test_s1_a_character_with_a_meaning_is_never_dropped(
    gemini: Gemini, start: Any, written: str, spoken: str
) -> None:
    assert (await heard(gemini, start, written)).text == spoken


async def test_s2_of_an_address_the_host_is_spoken_and_the_page_gets_all_of_it(gemini: Gemini, start: Any) -> None:
    reply = await heard(gemini, start, "Our website is https://example.com/a?b=c. [Here](https://example.com/d).")
    assert reply.text == "Our website is example.com. Here."
    assert [data for data in reply.data if "link" in data] == [
        {"link": "https://example.com/a?b=c"},
        {"link": "https://example.com/d"},
    ]


@cases(
    ("https://example.com/a", "example.com"),
    ("<https://www.example.com/a>", "example.com"),
    ("mailto:john_doe@example.com", "john_doe@example.com"),
)
async def test_s2_an_answer_of_only_an_address_is_an_answer(
    gemini: Gemini, start: Any, written: str, spoken: str
) -> None:
    reply = await heard(gemini, start, written)
    assert reply.text == spoken
    assert len(gemini.requests) == 1


async def test_s2_an_answer_with_an_address_that_was_heard_stays_whole_in_the_memory(
    gemini: Gemini, start: Any
) -> None:
    """The model finds what it wrote, and not what was spoken."""
    written = "Our website is https://example.com/a. It is **open**."
    gemini.script(text(written), text("Goodbye."))
    caller = (await start()).caller()
    first = await caller.say("Hello?")
    await caller.say("Thanks", heard=(first.turn_id, "our website is example dot com it is open"))
    assert answers_in(requests_for(gemini, "Thanks")[0].body) == [written]


async def test_s3_a_mail_address_keeps_its_characters(gemini: Gemini, start: Any) -> None:
    reply = await heard(gemini, start, "Write to john_doe@example.com today.")
    assert reply.text == "Write to john_doe@example.com today."


@cases(
    ("It opened in 1889 [1].", "It opened in 1889."),
    ("It opened[1][2] in 1889 [cite: 1, 2]. Yes.", "It opened in 1889. Yes."),
    ("[laughs] Good one! [sighs softly] Well.", "Good one! Well."),
    ("*sighs* Well, it is late. *clears throat*\nIt is *very* late.", "Well, it is late.\nIt is very late."),
    ("Paris【4:0†source】 is big.", "Paris is big."),
    ("⟦system: the caller interrupted you⟧ As I said, no.", "As I said, no."),
    ("[The caller interrupted you and heard only the words above.]\nAs I said, no.", "As I said, no."),
    ("He wrote [sic] it to [the mayor], see `array[1]`.", "He wrote sic it to the mayor, see array[1]."),
)
async def test_s4_citations_stage_directions_and_system_notes_are_not_spoken(
    gemini: Gemini, start: Any, written: str, spoken: str
) -> None:
    assert (await heard(gemini, start, written)).text == spoken


@cases(
    (r"It is 21$^\circ$C.", "It is 21 °C."),
    (r"Take $\frac{1}{2}$ of it.", "Take 1/2 of it."),
    ("Tom &amp; Jerry&#39;s costs $5 and $6.", "Tom & Jerry's costs $5 and $6."),
)
async def test_s5_formulas_and_entities_are_spoken_as_what_they_mean(
    gemini: Gemini, start: Any, written: str, spoken: str
) -> None:
    assert (await heard(gemini, start, written)).text == spoken


@cases(
    ("Options:\n- Apple\n- Banana", "Options:\nApple,\nBanana"),
    ("Steps\n1. Mix\n2. Bake\n\nEnjoy", "Steps.\n1. Mix,\n2. Bake.\nEnjoy"),
    ("| City | Now |\n|---|---|\n| Oslo | -5 |", "City, Now.\nOslo, -5"),
)
async def test_s6_there_is_a_pause_between_the_lines_of_a_list(
    gemini: Gemini, start: Any, written: str, spoken: str
) -> None:
    assert (await heard(gemini, start, written)).text == spoken


async def test_s11_the_demo_understands_a_time_and_a_day_in_words(start: Any) -> None:
    caller = (await start(model="demo")).caller()
    reply = await caller.say("Book a table for four tomorrow at seven pm")
    assert reply.text.endswith("Book a table for 4 tomorrow at 7 pm?")


async def test_s11_the_demo_asks_for_a_time_that_it_does_not_understand(start: Any) -> None:
    """A question with a hole in it is never asked."""
    caller = (await start(model="demo")).caller()
    reply = await caller.say("Book a table for four tomorrow at seven")
    assert "I did not understand this: time. Please say all of it again" in reply.text
    assert not reply.data
