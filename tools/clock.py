"""The time anywhere, from the zone database that is installed with Python. No network."""

from __future__ import annotations

import asyncio
import unicodedata
from datetime import UTC, datetime
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from agent import voice_tool

# Places people name that the zone database does not. Countries with several zones are left out on purpose.
ALSO_KNOWN = {
    "Africa/Cairo": "Alexandria, Giza",
    "Africa/Casablanca": "Morocco, Marrakech, Rabat",
    "Africa/Johannesburg": "South Africa, Cape Town, Durban, Pretoria",
    "Africa/Lagos": "Nigeria, Abuja",
    "Africa/Nairobi": "Kenya",
    "America/Argentina/Buenos_Aires": "Argentina",
    "America/Bogota": "Colombia, Medellin",
    "America/Chicago": "Austin, Dallas, Houston, Minneapolis, New Orleans, San Antonio, Texas, Central Time",
    "America/Denver": "Salt Lake City, Colorado, Mountain Time",
    "America/Edmonton": "Calgary",
    "America/Lima": "Peru",
    "America/Los_Angeles": "San Francisco, Seattle, San Diego, San Jose, Las Vegas, Portland, California, Pacific Time",
    "America/New_York": "New York City, NYC, Boston, Washington, Washington DC, Miami, Atlanta, "
    "Philadelphia, Orlando, Florida, Eastern Time",
    "America/Sao_Paulo": "Rio de Janeiro, Rio, Brasilia",
    "America/Toronto": "Montreal, Ottawa, Ontario, Quebec",
    "Asia/Bangkok": "Thailand, Phuket",
    "Asia/Dubai": "Abu Dhabi, United Arab Emirates, UAE",
    "Asia/Ho_Chi_Minh": "Vietnam, Hanoi, Ho Chi Minh City",
    "Asia/Jerusalem": "Tel Aviv, Haifa",
    "Asia/Karachi": "Pakistan, Islamabad, Lahore",
    "Asia/Kathmandu": "Nepal",
    "Asia/Kolkata": "India, Delhi, New Delhi, Mumbai, Bombay, Bangalore, Bengaluru, Chennai, Hyderabad, Pune",
    "Asia/Kuala_Lumpur": "Malaysia",
    "Asia/Manila": "Philippines",
    "Asia/Qatar": "Doha",
    "Asia/Riyadh": "Saudi Arabia, Jeddah, Mecca",
    "Asia/Seoul": "South Korea, Korea, Busan",
    "Asia/Shanghai": "China, Beijing, Shenzhen, Guangzhou, Chengdu",
    "Asia/Taipei": "Taiwan",
    "Asia/Tokyo": "Osaka, Kyoto, Yokohama, Nagoya, Sapporo",
    "Atlantic/Reykjavik": "Iceland",
    "Australia/Sydney": "Canberra",
    "Europe/Amsterdam": "Netherlands, The Netherlands, Holland, Rotterdam, The Hague, Utrecht",
    "Europe/Athens": "Greece",
    "Europe/Berlin": "Germany, Munich, Hamburg, Frankfurt, Cologne, Stuttgart, Leipzig, Dresden",
    "Europe/Brussels": "Belgium, Antwerp",
    "Europe/Bucharest": "Romania",
    "Europe/Budapest": "Hungary",
    "Europe/Copenhagen": "Denmark",
    "Europe/Dublin": "Ireland, Cork",
    "Europe/Helsinki": "Finland",
    "Europe/Istanbul": "Ankara",
    "Europe/Kyiv": "Ukraine, Lviv, Odesa",
    "Europe/London": "England, Scotland, Wales, Britain, Great Britain, United Kingdom, UK, Edinburgh, "
    "Glasgow, Manchester, Liverpool, Birmingham, Cambridge, Oxford",
    "Europe/Madrid": "Spain, Barcelona, Valencia, Seville",
    "Europe/Moscow": "Saint Petersburg, St Petersburg",
    "Europe/Oslo": "Norway, Bergen",
    "Europe/Paris": "France, Lyon, Marseille, Nice, Toulouse, Bordeaux",
    "Europe/Prague": "Czech Republic, Czechia",
    "Europe/Rome": "Italy, Milan, Naples, Turin, Florence, Venice",
    "Europe/Stockholm": "Sweden, Gothenburg",
    "Europe/Vienna": "Austria, Salzburg, Graz",
    "Europe/Warsaw": "Krakow, Gdansk",
    "Europe/Zurich": "Switzerland, Geneva, Basel, Bern, Lausanne",
    "Pacific/Auckland": "New Zealand, Wellington, Christchurch",
}


@voice_tool(on_barge_in="cancel")
async def clock(place: str) -> str:
    """What time it is now, and which day and date, in a city or country anywhere in the world.

    place: a city such as "Tokyo", a country with one time zone, or a time zone such as "UTC".
    """
    found = await asyncio.to_thread(find, place)
    if found is None:
        return (
            f"No time zone is known for {place.strip() or 'that'}. Ask for a large city nearby; "
            "for a country with several time zones, ask which city."
        )
    label, zone = found
    there = now().astimezone(zone)
    return f"It is {there:%H:%M} on {there:%A}, {there.day} {there:%B} in {label}."


def now() -> datetime:
    return datetime.now(UTC)


def find(place: str) -> tuple[str, ZoneInfo] | None:
    """The place's name and its zone. "Osaka, Japan" is Osaka; "Paris, Texas" is Texas. Reads files."""
    names = map(_plain, (place, *place.split(",")))
    known = [_places()[name] for name in names if name in _places()]
    if not known:
        return None
    (city, zone), (region, around) = ((label, ZoneInfo(key)) for label, key in (known[0], known[-1]))
    same_time = now().astimezone(zone).utcoffset() == now().astimezone(around).utcoffset()
    return (city, zone) if same_time else (region, around)


@cache
def _places() -> dict[str, tuple[str, str]]:
    """What a place may be called → how to say it, and its zone's key."""
    keys = sorted(available_timezones() - {"localtime", "Factory"})
    places = {_plain(key): (_city(key), key) for key in keys}
    for key, names in ALSO_KNOWN.items():
        places |= {_plain(name): (name, key) for name in names.split(", ")}
    for key in keys:
        # Etc/GMT+5 is five hours *behind*: right as a full key, wrong as what a caller means by GMT+5.
        if not key.startswith("Etc/"):
            places.setdefault(_plain(_city(key)), (_city(key), key))
    return places


def _city(key: str) -> str:
    return key.rpartition("/")[2].replace("_", " ")


def _plain(name: str) -> str:
    """Lower case, without accents, dots and dashes: "São Paulo", "St. John's", "Port-au-Prince"."""
    letters = unicodedata.normalize("NFKD", name.replace("_", " ").replace("-", " ").casefold())
    return " ".join("".join(c for c in letters if c.isalnum() or c in " /+").split())
