"""Tables for the restaurant's guests: an action that changes something, and happens once per call.

A booking's key is the call that made it: running that call again finds the booking, and makes no other.
Bookings belong to the caller's phone number or, without one, to the conversation. A number can be spoofed: where that
matters, ask for more than it, such as the name of the booking.
A booking is the restaurant's record: when its guest is forgotten it stays, and nobody can tell whose it was.
Times are the restaurant's, which are taken to be the server's: set `TZ` where they differ.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import uuid
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from langchain_core.tools import ToolException

from agent import tool_context, voice_tool
from agent.storage import Database

MOST_PEOPLE = 20
DAYS_AHEAD = 365
MOST_LISTED = 10

TABLE = """
CREATE TABLE IF NOT EXISTS bookings (
    call_id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    number INTEGER NOT NULL,
    starts_at TEXT NOT NULL,
    people INTEGER NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    UNIQUE (owner, number)
)
"""


class Unclear(ToolException):
    """What was asked for cannot be booked. The text tells the model what to ask."""


class Booking(NamedTuple):
    """starts_at: local time, "2026-11-23T19:00", which sorts as text. status: "booked" or "cancelled"."""

    number: int
    starts_at: str
    people: int
    name: str
    status: str

    def __str__(self) -> str:
        when = dt.datetime.fromisoformat(self.starts_at)
        guests = f"{self.people} {'person' if self.people == 1 else 'people'}"
        name = f" under the name {self.name}" if self.name else ""
        return f"number {self.number}, for {guests} on {when:%A}, {when.day} {when:%B} at {when:%H:%M}{name}"


def _can_be_booked(people: int, time: str, date: str) -> dict[str, str]:
    """Before the caller is asked. Unclear when it cannot be."""
    _guests(people)
    _moment(date, time)
    return {"date": date.strip() or "today", "time": time.strip()}


@voice_tool(
    say="Booking your table.",
    confirm="Book a table for {people} {date} at {time}?",
    check=_can_be_booked,
    timeout=10,
    on_barge_in="finish",
)
async def book_table(people: int, time: str, date: str = "today", name: str = "") -> str:
    """Book or reserve a table at the restaurant.

    people: how many guests. time: "19:00" or "7:30 pm". date: "today", "tomorrow", a day of the week, or
    year-month-day such as 2026-11-23. name: whose name the booking is under, if given.
    """
    await _prepare()
    booking = await _made_by_this_call()
    if booking is None:  # looked for first: what was "tomorrow" or still ahead may not be so at a second run
        try:
            booking = await _book(_guests(people), _moment(date, time), " ".join(name.split())[:80])
        except Unclear as problem:
            return str(problem)
    if booking.status == "cancelled":
        return f"That booking was made and has since been cancelled: {booking}."
    return f"The table is booked: {booking}."


@voice_tool(on_barge_in="cancel")
async def list_bookings() -> str:
    """List the caller's table bookings or reservations that are still ahead, with their numbers."""
    await _prepare()
    return await _listing()


@voice_tool(say="Cancelling that booking.", timeout=10, on_barge_in="finish")
async def cancel_booking(number: int | str) -> str:
    """Cancel one of the caller's table bookings or reservations.

    number: the booking's number. When the caller does not know it, list the bookings first.
    """
    await _prepare()
    booking = await _find(number)
    if booking is None:
        return f"The caller has no booking with that number. {await _listing()}"
    changed = await tool_context().database.execute(
        "UPDATE bookings SET status = 'cancelled' WHERE owner = ? AND number = ? AND status = 'booked'",
        _owner(),
        booking.number,
    )
    return f"{'Cancelled' if changed else 'It is already cancelled'}: {booking}."


async def forget(database: Database, conversations: Sequence[str], caller: str | None) -> int:
    """`voice forget`: bookings lose their owner and name, and the conversation that made them. Those of a phone
    number stay its own while only a conversation is forgotten."""
    await database.execute(TABLE)
    owners, changed = [*(f"conversation:{id_}" for id_ in conversations), *([f"phone:{caller}"] if caller else [])], 0
    for owner in owners:
        for row in await database.fetch("SELECT call_id FROM bookings WHERE owner = ?", owner):
            nobody = f"forgotten:{uuid.uuid4().hex}"
            changed += await database.execute(
                "UPDATE bookings SET call_id = ?, owner = ?, name = '' WHERE call_id = ?", nobody, nobody, row[0]
            )
    for prefix in (f"{id_}:" for id_ in conversations):
        made = "SELECT call_id FROM bookings WHERE substr(call_id, 1, ?) = ?"
        for row in await database.fetch(made, len(prefix), prefix):
            unknown = f"forgotten:{uuid.uuid4().hex}"
            changed += await database.execute("UPDATE bookings SET call_id = ? WHERE call_id = ?", unknown, row[0])
    return changed


def now() -> dt.datetime:
    """The restaurant's wall clock."""
    return dt.datetime.now().astimezone().replace(tzinfo=None)


# What the caller said


def _guests(people: int) -> int:
    if not 1 <= people <= MOST_PEOPLE:
        raise Unclear(f"Not booked: a table is for 1 to {MOST_PEOPLE} people. Ask how many are coming.")
    return people


def _moment(date: str, time: str) -> str:
    moment = dt.datetime.combine(_day(date), _hour(time))
    if moment <= now():
        raise Unclear("Not booked: that time has passed. Ask for a later time, or for which day it is.")
    if moment > now() + dt.timedelta(days=DAYS_AHEAD):
        raise Unclear("Not booked: bookings are taken up to a year ahead. Ask for the date again.")
    return moment.isoformat(timespec="minutes")


def _day(date: str) -> dt.date:
    """A weekday's name is the next such day, today included."""
    word, today = date.strip().lower(), now().date()
    if word == "yesterday":
        return today - dt.timedelta(days=1)
    for ahead in range(7):
        day = today + dt.timedelta(days=ahead)
        if word in (f"{day:%A}".lower(), ("today", "tomorrow")[ahead] if ahead < 2 else None):
            return day
    try:
        return dt.date.fromisoformat(word) if word else today
    except ValueError:
        raise Unclear(
            "Not booked: the date is unclear. Ask for the day, and give it as today, tomorrow, a day of the "
            "week, or year-month-day."
        ) from None


def _hour(time: str) -> dt.time:
    """ "19:00", "19.00", "7pm", "7:30 p.m.", "19"; a bare "7" could be either half of the day."""
    parts = re.fullmatch(r"(\d{1,2})(?:[:.](\d{2})(?::00)?)?\s*(?:([ap])\.?\s?m\.?)?", time.strip().lower())
    if parts is None:
        raise Unclear("Not booked: the time is unclear. Ask for it, and give it as 19:00 or 7:30 pm.")
    hour, minute, half = int(parts[1]), int(parts[2] or 0), parts[3]
    if half is None and parts[2] is None and hour <= 12:
        raise Unclear(f"Not booked: ask whether {hour} in the morning or in the evening is meant.")
    if hour > (12 if half else 23) or minute > 59 or (half and hour == 0):
        raise Unclear("Not booked: there is no such time of day. Ask for the time again.")
    return dt.time(hour % 12 + 12 * (half == "p") if half else hour, minute)


# What is in the database


async def _prepare() -> None:
    await tool_context().database.execute(TABLE)


def _owner() -> str:
    context = tool_context()
    return f"phone:{context.caller}" if context.caller else f"conversation:{context.conversation_id}"


async def _book(people: int, starts_at: str, name: str) -> Booking:
    call_id = tool_context().call_id
    for number in _numbers(call_id):
        # Does nothing when another run of this call was quicker, or when the owner has that number already.
        await tool_context().database.execute(
            "INSERT INTO bookings (call_id, owner, number, starts_at, people, name, status) "
            "VALUES (?, ?, ?, ?, ?, ?, 'booked') ON CONFLICT DO NOTHING",
            *(call_id, _owner(), number, starts_at, people, name),
        )
        if booking := await _made_by_this_call():
            return booking
    raise RuntimeError("no free booking number was found")


def _numbers(call_id: str) -> Iterator[int]:
    """Numbers to try, short ones first: three digits are easily said. Not random, for replays."""
    for attempt in range(24):
        lowest = 10 ** (2 + attempt // 8)
        digest = hashlib.sha256(f"{call_id} {attempt}".encode()).digest()
        yield lowest + int.from_bytes(digest[:8], "big") % (9 * lowest)


async def _made_by_this_call() -> Booking | None:
    rows = await tool_context().database.fetch(
        "SELECT number, starts_at, people, name, status FROM bookings WHERE call_id = ? AND owner = ?",
        tool_context().call_id,
        _owner(),
    )
    return Booking(*rows[0]) if rows else None


async def _find(number: int | str) -> Booking | None:
    digits = re.sub(r"\D", "", str(number))
    if not 1 <= len(digits) <= 6:
        return None
    rows = await tool_context().database.fetch(
        "SELECT number, starts_at, people, name, status FROM bookings WHERE owner = ? AND number = ?",
        _owner(),
        int(digits),
    )
    return Booking(*rows[0]) if rows else None


async def _listing() -> str:
    rows = await tool_context().database.fetch(
        "SELECT number, starts_at, people, name, status FROM bookings "
        "WHERE owner = ? AND status = 'booked' AND starts_at > ? ORDER BY starts_at, number LIMIT ?",
        _owner(),
        now().isoformat(timespec="minutes"),
        MOST_LISTED,
    )
    if not rows:
        return "The caller has no bookings ahead."
    return f"The caller's bookings: {'; '.join(str(Booking(*row)) for row in rows)}."
