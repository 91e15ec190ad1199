"""The weather now and for three days, from Open-Meteo (https://open-meteo.com/en/docs). No key needed."""

from __future__ import annotations

from pydantic import BaseModel, Field, FiniteFloat

from agent import voice_tool
from tools._http import Params, ServiceError, base_url, get

SERVICE = "The weather service"
DAYS = ("Today", "Tomorrow", "The day after tomorrow")

# WMO code table 4677, as far as Open-Meteo uses it.
SKIES = {
    0: "clear sky",
    1: "mostly clear",
    2: "partly cloudy",
    3: "overcast",
    45: "fog",
    48: "freezing fog",
    51: "light drizzle",
    53: "drizzle",
    55: "heavy drizzle",
    56: "light freezing drizzle",
    57: "freezing drizzle",
    61: "light rain",
    63: "rain",
    65: "heavy rain",
    66: "light freezing rain",
    67: "freezing rain",
    71: "light snow",
    73: "snow",
    75: "heavy snow",
    77: "snow grains",
    80: "light showers",
    81: "showers",
    82: "violent showers",
    85: "light snow showers",
    86: "heavy snow showers",
    95: "thunderstorms",
    96: "thunderstorms with hail",
    99: "thunderstorms with heavy hail",
}


class Place(BaseModel):
    name: str
    latitude: FiniteFloat
    longitude: FiniteFloat
    country: str = ""


class Places(BaseModel):
    """Open-Meteo leaves `results` out when there are none; `generationtime_ms` is there always."""

    generationtime_ms: FiniteFloat
    results: list[Place] = []


class Current(BaseModel):
    temperature_2m: FiniteFloat
    apparent_temperature: FiniteFloat
    weather_code: int
    wind_speed_10m: FiniteFloat


class Daily(BaseModel):
    """One value per day in each list. Some weather models know no chance of rain."""

    weather_code: list[int] = Field(min_length=1)
    temperature_2m_max: list[FiniteFloat] = Field(min_length=1)
    temperature_2m_min: list[FiniteFloat] = Field(min_length=1)
    precipitation_probability_max: list[FiniteFloat | None] = Field(min_length=1)


class Forecast(BaseModel):
    current: Current
    daily: Daily


@voice_tool(
    say="Checking the weather in {city}.",
    slow="The weather service is taking its time.",
    timeout=8,
    on_barge_in="cancel",
)
async def weather(city: str) -> str:
    """The weather in a city: temperature, wind and sky now, and the forecast with the chance of rain or snow
    for today, tomorrow and the day after.

    city: its name; where several have that name, with the country or state: "Paris, Texas".
    """
    try:
        place = await _locate(city)
        if place is None:
            return f"{SERVICE} knows no place called {city.strip() or 'that'}. Ask which city is meant."
        return _report(place, await _forecast(place))
    except ServiceError as problem:
        return str(problem)


async def _locate(city: str) -> Place | None:
    url = base_url("WEATHER_GEOCODING_URL", "https://geocoding-api.open-meteo.com") + "/v1/search"
    params: Params = {"name": city.strip(), "count": 1, "language": "en", "format": "json"}
    found = await get(Places, SERVICE, url, params)
    return found.results[0] if found.results else None


async def _forecast(place: Place) -> Forecast:
    url = base_url("WEATHER_FORECAST_URL", "https://api.open-meteo.com") + "/v1/forecast"
    params: Params = {
        "latitude": place.latitude,
        "longitude": place.longitude,
        "current": ",".join(Current.model_fields),
        "daily": ",".join(Daily.model_fields),
        "timezone": "auto",
        "forecast_days": len(DAYS),
    }
    return await get(Forecast, SERVICE, url, params)


def _report(place: Place, forecast: Forecast) -> str:
    now = forecast.current
    where = f"{place.name}, {place.country}" if place.country not in ("", place.name) else place.name
    return (
        f"In {where} it is {round(now.temperature_2m)} degrees Celsius now, "
        f"feels like {round(now.apparent_temperature)}, {_sky(now.weather_code)}, "
        f"wind {round(now.wind_speed_10m)} kilometres per hour. {_days(forecast.daily)}"
    )


def _days(daily: Daily) -> str:
    days = zip(
        DAYS,
        daily.weather_code,
        daily.temperature_2m_min,
        daily.temperature_2m_max,
        daily.precipitation_probability_max,
        strict=False,  # a shorter forecast is still a forecast
    )
    return " ".join(
        f"{day}: {_sky(code)}, {round(low)} to {round(high)} degrees{_chance(chance)}."
        for day, code, low, high, chance in days
    )


def _sky(code: int) -> str:
    return SKIES.get(code, "mixed weather")


def _chance(percent: float | None) -> str:
    return "" if percent is None else f", {round(percent)} percent chance of rain or snow"
