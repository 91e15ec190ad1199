"""What the demo model finds in a sentence: times, days, a number, what it is about. English, in figures and in words.

Understood are 19:00, 7:30 pm, seven pm, seven thirty p.m., half past seven in the evening, tonight at seven, noon;
today, tonight, tomorrow, the day after tomorrow, Friday, 2026-11-23, 23 November, November 23rd. Anything else, such
as "at seven" alone or "next week", is not understood, and to be asked for.
"""

from __future__ import annotations

import calendar
import datetime as dt
import re
from collections.abc import Iterator

UNCLEAR = ""  # there is a time or a day, and it is not understood

_NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_TENS = {"ten": 10, "fifteen": 15, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50}
_MINUTES = {**_TENS, **{f"{tens} five": n + 5 for tens, n in _TENS.items() if n in (20, 30, 40, 50)}, "oh five": 5}
_MONTHS = [name.lower() for name in calendar.month_name[1:]]
_HOUR = rf"(?P<hour>\d{{1,2}}|{'|'.join(_NUMBERS[1:])})"
_WORDS = "|".join(sorted((name.replace(" ", "[ -]") for name in _MINUTES), key=len, reverse=True))
_HALF = r"(?P<half>[ap])\.?\s?m\b\.?"
_FIGURES = re.compile(r"\b(\d{1,2}(?::\d\d)?\s?[ap](?:m\b|\.\s?m\b\.?)|\d{1,2}:\d\d\b)", re.IGNORECASE)
_TIMES = [
    re.compile(rf"\b(?P<part>half past|(?:a )?quarter past|(?:a )?quarter to) {_HOUR}\b(?:\s*{_HALF})?"),
    re.compile(rf"\b{_HOUR}(?:[ :](?P<minutes>\d\d|{_WORDS}))?\s*(?:{_HALF}|o['’]?clock\b)"),
    re.compile(rf"\bat {_HOUR}(?:[ :](?P<minutes>\d\d|{_WORDS}))?\b"),
    re.compile(rf"\b{_HOUR}(?: (?P<minutes>{_WORDS}))? (?=in the (?:morning|afternoon|evening)|at night|tonight)"),
]
_NAMED = {"noon": "12:00", "midday": "12:00", "midnight": "00:00"}
_NAME = re.compile(r"\b(?:noon|midday|midnight)\b")
_MORNING, _LATER = re.compile(r"\bmorning\b"), re.compile(r"\b(?:afternoon|evening|tonight|night)\b")
_DAY = re.compile(r"\b(today|tonight|tomorrow|(?:mon|tues|wednes|thurs|fri|satur|sun)day|\d{4}-\d\d-\d\d)\b", re.I)
_AFTER_TOMORROW = re.compile(r"\bday after tomorrow\b")
_MONTH = "|".join(_MONTHS)
_CALENDAR = re.compile(
    rf"\b(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? (?P<month>{_MONTH})\b"
    rf"|\b(?P<month_first>{_MONTH}) (?:the )?(?P<day_last>\d{{1,2}})(?:st|nd|rd|th)?\b"
)
_UNCLEAR_DAY = re.compile(rf"\b(?:next (?:week|month|year)|weekend|in \w+ (?:day|week|month)s?|(?:{_MONTH})(?<!may))\b")
_NUMBER = re.compile(rf"\b(?:\d+|{'|'.join(_NUMBERS)})\b")
_PREPOSITION = re.compile(r"\b(?:in|at|of|about|for|on|to|up)\s+(?:the\s+)?", re.IGNORECASE)
_TAIL = re.compile(r"[\s,]+(?:please|(?:right )?now|today|tomorrow|tonight|like)(?=[\s,?!.]*$)", re.IGNORECASE)


def find_time(text: str) -> str | None:
    """The time in `text`, such as "19:00" or "7:30 pm"; UNCLEAR; None if there is none."""
    lower = text.lower()
    half = "a" if _MORNING.search(lower) else "p" if _LATER.search(lower) else None
    figures = _FIGURES.search(text)
    if figures and not (half and figures[0][-1].isdigit()):
        return figures[0]
    if found := next((m for pattern in _TIMES if (m := pattern.search(lower))), None):
        return _clock(found, half)
    return _NAMED[named[0]] if (named := _NAME.search(lower)) else None


def _clock(found: re.Match[str], half: str | None) -> str:
    groups = found.groupdict()
    word, part, said = groups["hour"], groups.get("part") or "", groups.get("minutes") or ""
    hour = int(word) if word.isdigit() else _NUMBERS.index(word)
    minute = int(said) if said.isdigit() else _MINUTES.get(said.replace("-", " "), 0)
    if part:
        minute = 30 if "half" in part else 15
    if part.endswith("to"):
        hour, minute = hour - 1 or 12, 45
    half = groups.get("half") or (half if hour != 12 else None)  # twelve tonight: midnight, or midday
    if hour > 12:
        return f"{hour}:{minute:02}"
    return f"{hour}{f':{minute:02}' if minute else ''} {half}m" if half else UNCLEAR


def find_date(text: str) -> str | None:
    """The day in `text` in a word, or as year-month-day; UNCLEAR; None if there is none."""
    lower, today = text.lower(), dt.datetime.now().astimezone().date()
    if _AFTER_TOMORROW.search(lower):
        return (today + dt.timedelta(days=2)).isoformat()
    if found := _CALENDAR.search(lower):
        day, month = int(found["day"] or found["day_last"]), found["month"] or found["month_first"]
        return next(_such_days(today, _MONTHS.index(month) + 1, day), UNCLEAR)
    if named := _DAY.search(text):
        return "today" if named[0].lower() == "tonight" else named[0]
    return UNCLEAR if _UNCLEAR_DAY.search(lower) else None


def _such_days(today: dt.date, month: int, day: int) -> Iterator[str]:
    for year in range(today.year, today.year + 5):
        try:
            if (then := dt.date(year, month, day)) >= today:
                yield then.isoformat()
        except ValueError:  # the 29th of February
            continue


def find_number(text: str) -> int | None:
    """The first number that is of no time and no day."""
    text = text.lower()
    for pattern in (_FIGURES, *_TIMES, _CALENDAR, _DAY, _UNCLEAR_DAY):
        text = pattern.sub(" ", text)
    found = _NUMBER.search(text)
    return None if not found else int(found[0]) if found[0].isdigit() else _NUMBERS.index(found[0])


def find_subject(text: str) -> str:
    """What the sentence is about: what follows its last preposition, else its capitalised words, else all."""
    while text != (shorter := _TAIL.sub("", text)):
        text = shorter
    *before, after = _PREPOSITION.split(text)
    names = re.findall(r"(?<!^)\b[A-Z]\w+", text)
    return (after if before else " ".join(names) or text).strip(" ?!.")
