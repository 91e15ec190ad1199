"""Open-Meteo and Wikipedia on a local port, with their answers' real shapes, and the ways they go wrong.

with services() as outside:
    outside.mode = "slow"      # every endpoint
    outside.at = "/forecast"   # only the endpoints whose path contains this
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

Mode = Literal["ok", "not_found", "error", "busy", "slow", "drip", "html", "truncated", "wrong_types"]

BERLIN = {
    "id": 2950159,
    "name": "Berlin",
    "latitude": 52.52437,
    "longitude": 13.41053,
    "elevation": 74.0,
    "feature_code": "PPLC",
    "country_code": "DE",
    "timezone": "Europe/Berlin",
    "population": 3426354,
    "country": "Germany",
    "admin1": "State of Berlin",
}

FORECAST = {
    "latitude": 52.52,
    "longitude": 13.419998,
    "generationtime_ms": 0.12,
    "utc_offset_seconds": 3600,
    "timezone": "Europe/Berlin",
    "timezone_abbreviation": "GMT+1",
    "elevation": 38.0,
    "current_units": {"time": "iso8601", "interval": "seconds", "temperature_2m": "°C"},
    "current": {
        "time": "2026-11-22T12:00",
        "interval": 900,
        "temperature_2m": 7.6,
        "apparent_temperature": 4.4,
        "weather_code": 61,
        "wind_speed_10m": 14.2,
    },
    "daily_units": {"time": "iso8601", "temperature_2m_max": "°C", "precipitation_probability_max": "%"},
    "daily": {
        "time": ["2026-11-22", "2026-11-23", "2026-11-24"],
        "weather_code": [63, 3, 0],
        "temperature_2m_max": [9.4, 6.1, 2.0],
        "temperature_2m_min": [4.2, 1.3, -3.8],
        "precipitation_probability_max": [85, 20, None],
    },
}

PAGE = {
    "id": 974,
    "key": "Ada_Lovelace",
    "title": "Ada Lovelace",
    "excerpt": '<span class="searchmatch">Ada</span> was an English mathematician',
    "matched_title": None,
    "anchor": None,
    "description": "English mathematician (1815–1852)",
    "thumbnail": None,
}

SUMMARY = {
    "type": "standard",
    "title": "Ada Lovelace",
    "displaytitle": '<span class="mw-page-title-main">Ada Lovelace</span>',
    "pageid": 974,
    "lang": "en",
    "description": "English mathematician (1815–1852)",
    "extract": "Augusta Ada King, Countess of Lovelace, was an English mathematician and writer.",
    "extract_html": "<p><b>Augusta Ada King</b> was an English mathematician and writer.</p>",
}


@dataclass
class Services:
    """The server as a test sees it. `requests`: path with query and headers of each request, in order."""

    base_url: str
    mode: Mode = "ok"
    at: str = ""
    page: dict[str, Any] = field(default_factory=lambda: dict(PAGE))
    summary: dict[str, Any] = field(default_factory=lambda: dict(SUMMARY))
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        names = ("WEATHER_GEOCODING_URL", "WEATHER_FORECAST_URL", "WIKIPEDIA_URL")
        return dict.fromkeys(names, self.base_url)

    def reset(self) -> None:
        """In good health again, and nothing asked yet: for a server that several tests share."""
        vars(self).update(vars(Services(self.base_url)))


@contextmanager
def services() -> Iterator[Services]:
    """A server in a thread of its own, on a free port; gone, with its thread and socket, at the end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        state = Services(f"http://127.0.0.1:{listening.getsockname()[1]}")
        config = uvicorn.Config(
            _app(state),
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            _wait_for(lambda: server.started, thread)
            yield state
        finally:
            server.should_exit = True
            thread.join(5)
            if thread.is_alive():
                raise RuntimeError("the local services did not stop")


def _wait_for(started: Callable[[], bool], thread: threading.Thread) -> None:
    until = time.monotonic() + 5
    while not started():
        if not thread.is_alive() or time.monotonic() > until:
            raise RuntimeError("the local services did not start")
        time.sleep(0.005)


def _app(state: Services) -> Starlette:
    async def geocoding(request: Request) -> Response:
        nothing = {"generationtime_ms": 0.5}
        found = {"results": [BERLIN], **nothing}
        return await _answer(state, request, found, JSONResponse(nothing), {"results": "Berlin", **nothing})

    async def forecast(request: Request) -> Response:
        refused = JSONResponse({"error": True, "reason": "Latitude must be in range"}, 400)
        return await _answer(state, request, FORECAST, refused, {"current": [], "daily": {"weather_code": 7}})

    async def search(request: Request) -> Response:
        wrong = {"pages": [{"key": 974}]}
        return await _answer(state, request, {"pages": [state.page]}, JSONResponse({"pages": []}), wrong)

    async def summary(request: Request) -> Response:
        missing = JSONResponse({"status": 404, "type": "Internal error"}, 404)
        return await _answer(state, request, state.summary, missing, {"type": 1, "extract": None})

    async def moved(request: Request) -> Response:
        """Wikipedia redirects a title that is not in its normal form, with a relative address."""
        return RedirectResponse("Ada_Lovelace", 302)

    return Starlette(
        routes=[
            Route("/v1/search", geocoding),
            Route("/v1/forecast", forecast),
            Route("/w/rest.php/v1/search/page", search),
            Route("/api/rest_v1/page/summary/Moved", moved),
            Route("/api/rest_v1/page/summary/{key:path}", summary),
        ]
    )


async def _answer(state: Services, request: Request, good: Any, missing: Response, wrong: Any) -> Response:
    sent = request.scope["raw_path"].decode() + "?" + request.scope["query_string"].decode()
    state.requests.append((sent, dict(request.headers)))
    match state.mode if state.at in sent else "ok":
        case "not_found":
            return missing
        case "error":
            return Response("upstream connect error at 10.0.0.7", 503)
        case "busy":
            return JSONResponse({"error": True, "reason": "Minutely API request limit exceeded."}, 429)
        case "slow":
            await _until_hung_up(request)
        case "drip":
            return StreamingResponse(_drip(), media_type="application/json")
        case "html":
            return Response("<!doctype html><title>Captive portal</title>", media_type="text/html")
        case "truncated":
            return Response(JSONResponse(good).body[:-7], media_type="application/json")
        case "wrong_types":
            return JSONResponse(wrong)
    return JSONResponse(good)


async def _until_hung_up(request: Request) -> None:
    """Say nothing until the client is gone, or half a minute has passed."""
    for _ in range(3000):
        if await request.is_disconnected():
            return
        await asyncio.sleep(0.01)


async def _drip() -> AsyncIterator[bytes]:
    """A byte every few milliseconds: no single wait is long, and the answer never ends."""
    for _ in range(3000):
        yield b" "
        await asyncio.sleep(0.01)
