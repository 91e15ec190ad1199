"""A value as people say it, for the lines that a tool speaks: 4 and not 4.0, yes and not True, 24 December."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True)
class Words:
    """What a language needs for it. day, moment: how a date, and a date with its time, are put together. units: hours,
    minutes, seconds, each as one and as several. point: before the decimals of a number."""

    yes: str
    no: str
    conjunction: str
    months: tuple[str, ...]
    day: str
    moment: str
    units: tuple[tuple[str, str], ...]
    point: str = ","


ENGLISH = Words(
    yes="yes",
    no="no",
    conjunction=" and ",
    months=(
        "January", "February", "March", "April", "May", "June",
        "July", "August", "September", "October", "November", "December",
    ),
    day="{day} {month}",
    moment="{date} at {time}",
    units=(("hour", "hours"), ("minute", "minutes"), ("second", "seconds")),
    point=".",
)  # fmt: skip


_MONTHS = {
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "ja": "1月 2月 3月 4月 5月 6月 7月 8月 9月 10月 11月 12月",
}
_WORDS = {
    "de": Words(
        "ja", "nein", " und ", tuple(_MONTHS["de"].split()), "{day}. {month}", "{date} um {time}",
        (("Stunde", "Stunden"), ("Minute", "Minuten"), ("Sekunde", "Sekunden")),
    ),
    "fr": Words(
        "oui", "non", " et ", tuple(_MONTHS["fr"].split()), "{day} {month}", "{date} à {time}",
        (("heure", "heures"), ("minute", "minutes"), ("seconde", "secondes")),
    ),
    "es": Words(
        "sí", "no", " y ", tuple(_MONTHS["es"].split()), "{day} de {month}", "{date} a las {time}",
        (("hora", "horas"), ("minuto", "minutos"), ("segundo", "segundos")),
    ),
    "ja": Words(
        "はい", "いいえ", "と", tuple(_MONTHS["ja"].split()), "{month}{day}日", "{date}{time}",
        (("時間", "時間"), ("分", "分"), ("秒", "秒")), ".",
    ),
}  # fmt: skip


def words_of(language: str) -> Words:
    """Those of a language, else the English ones."""
    return _WORDS.get(language.partition("-")[0], ENGLISH)


def spoken(value: Any, words: Words = ENGLISH) -> str:
    """The value in words; nothing for None. A date is said without its year, as between people who plan something."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return words.yes if value else words.no
    if isinstance(value, Enum):
        return _choice(value, words)
    if isinstance(value, float | Decimal):
        return _number(value).replace(".", words.point)
    if isinstance(value, date | time | timedelta):
        return _moment(value, words)
    parts = _parts(value, words)
    return str(value) if parts is None else _listed([said for part in parts if (said := spoken(part, words))], words)


def _choice(value: Enum, words: Words) -> str:
    """Its value where that is a text, else its name."""
    text = value.value if isinstance(value.value, str) else value.name.lower()
    return text.replace("_", " ")


def _number(value: float | Decimal) -> str:
    """Without an exponent, and without the end of a fraction that only a machine would say. A price keeps its cents."""
    if isinstance(value, Decimal):
        return f"{value:f}" if value.is_finite() else str(value)
    if value.is_integer():
        return f"{value:.0f}"
    return f"{value:.6f}".rstrip("0").rstrip(".") if abs(value) < 1e15 else str(value)


def _moment(value: date | time | timedelta, words: Words) -> str:
    if isinstance(value, timedelta):
        return _duration(value, words)
    if isinstance(value, time):
        return f"{value:%H:%M:%S}" if value.second else f"{value:%H:%M}"
    day = words.day.format(day=value.day, month=words.months[value.month - 1])
    return words.moment.format(date=day, time=_moment(value.time(), words)) if isinstance(value, datetime) else day


def _duration(value: timedelta, words: Words) -> str:
    seconds = round(abs(value.total_seconds()))
    counts = (seconds // 3600, seconds % 3600 // 60, seconds % 60)
    said = [
        f"{count} {one if count == 1 else several}"
        for count, (one, several) in zip(counts, words.units, strict=True)
        if count
    ]
    return " ".join(said) or f"0 {words.units[-1][1]}"


def _parts(value: Any, words: Words) -> list[Any] | None:
    """What a container holds; None of anything else."""
    if isinstance(value, BaseModel):
        return [part for _, part in value]
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name) for field in fields(value)]
    if isinstance(value, Mapping):
        return [f"{spoken(key, words)} {spoken(part, words)}" for key, part in value.items()]
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else None


def _listed(said: list[str], words: Words) -> str:
    return words.conjunction.join(filter(None, [", ".join(said[:-1]), *said[-1:]]))
