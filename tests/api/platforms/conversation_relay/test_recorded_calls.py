"""Two phone calls from beginning to end, as recorded in tests/runs: what is on the wire, and what is remembered."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

from agent.replay.run_file import load_run
from api.replay.player import Replayed, replay
from tests.support.backend import ROOT
from tests.support.run_files import project

GREETING = "Hello, this is the Golden Lion. How can I help?"


@functools.cache
def played(name: str) -> Replayed:
    return replay(load_run(ROOT / "tests/runs" / f"{name}.json"), project())


def wire(name: str) -> list[tuple[str, Any]]:
    """(way, frame), in their order."""
    return [(way, frame) for turn in played(name).run.turns for _, way, frame in turn.frames]


def step(way: str, frame: Any) -> str:
    """What a frame does, in a word or two; words one after the other are one step."""
    if isinstance(frame, str):
        return "TwiML that connects" if "<Connect" in frame else frame.partition("<Response>")[2]
    if "POST" in frame:
        return f"POST {frame['POST']}"
    if frame["type"] == "text":
        return "end of answer" if frame["last"] else "words"
    return f"{frame['type']} {way}"


def steps(name: str) -> list[str]:
    found = [step(way, frame) for way, frame in wire(name)]
    return [one for one, before in zip(found, [None, *found], strict=False) if one != before or one != "words"]


def said(name: str, turn: int) -> str:
    """The words of one turn that went over the wire."""
    frames = played(name).run.turns[turn].frames
    return "".join(f["token"] for _, way, f in frames if way == "out" and isinstance(f, dict) and f["type"] == "text")


BEGINS = ["POST /twilio/voice", "TwiML that connects", "setup in", "words", "end of answer"]
ANSWERED = ["prompt in", "words", "end of answer"]


def test_a_call_with_a_booking_on_the_wire() -> None:
    """TwiML, the socket, the greeting, the weather, an interruption, a question, a yes, a goodbye, and its end."""
    assert steps("phone-call") == [
        *BEGINS, *ANSWERED, "interrupt in", *ANSWERED, *ANSWERED, *ANSWERED,
        "end out", "POST /twilio/ended", "<Hangup /></Response>",
    ]  # fmt: skip
    assert said("phone-call", 1).startswith("Checking the weather in Berlin. It is eight degrees"), "a progress line"
    *_, last = played("phone-call").run.turns
    times = {frame["token"]: ms for ms, _, frame in last.frames if isinstance(frame, dict) and "token" in frame}
    ends = next(ms for ms, _, frame in last.frames if isinstance(frame, dict) and frame.get("type") == "end")
    assert ends - times[" evening."] > 1900, "thirty characters are heard before the call ends"


def test_a_call_with_a_booking_in_memory() -> None:
    """Exactly what was heard: the forecast ends where the fragment did, and what was not said is not there."""
    assert spoken(played("phone-call").memory) == [
        ("agent", GREETING),
        ("caller", "What's the weather in Berlin?"),
        ("agent", "It is eight degrees in Berlin, with light rain. Tomorrow it gets up to"),
        ("caller", "Then book a table for four at seven tonight"),
        ("agent", "Book a table for 4 today at 19:00?"),
        ("caller", "Yes, please"),
        ("agent", "Your table for four is booked. Is there anything else?"),
        ("caller", "Thanks, bye"),
        ("agent", "Goodbye, and enjoy your evening."),
    ]


def test_the_table_is_booked_once() -> None:
    called = [name for turn in played("phone-call").run.turns for name in [call.name for call in turn.tools]]
    assert called == ["weather", "book_table", "end_call"]
    assert len(set(played("phone-call").ran)) == len(played("phone-call").ran)


def test_a_call_that_is_transferred() -> None:
    """`end` says to whom, and the callback dials."""
    assert steps("phone-transfer") == [
        *BEGINS, *ANSWERED, "end out", "POST /twilio/ended", "<Dial>+000000000000</Dial></Response>"
    ]  # fmt: skip
    (end,) = [frame for way, frame in wire("phone-transfer") if way == "out" and "handoffData" in frame]
    assert json.loads(end["handoffData"])["transfer"] == "+000000000000"
    assert spoken(played("phone-transfer").memory) == [
        ("agent", GREETING),
        ("caller", "I would like to talk to a person"),
        ("agent", "I connect you with the reception."),
    ]


def spoken(memory: Any) -> list[tuple[str, str]]:
    """(who, words), without the system's notes and what has no words."""
    lines = [(who, message[who]) for message in memory for who in ("agent", "caller") if message.get(who)]
    return [(who, words.rpartition("⟧")[2].strip()) for who, words in lines if words.rpartition("⟧")[2].strip()]


@pytest.mark.parametrize("name", ["phone-call", "phone-transfer"])
def test_the_same_twice(name: str) -> None:
    """Byte for byte."""
    again = replay(load_run(ROOT / "tests/runs" / f"{name}.json"), project())
    assert again.run.model_dump_json() == played(name).run.model_dump_json()
