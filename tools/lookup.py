"""What Wikipedia says about something: the best match for a search, and the start of that article."""

from __future__ import annotations

import re
from urllib.parse import quote

from pydantic import BaseModel, Field

from agent import voice_tool
from tools._http import NotFoundError, ServiceError, base_url, get

SERVICE = "Wikipedia"

# Characters: about 45 seconds of speech, and the model shortens it.
LONGEST = 700


class Hit(BaseModel):
    key: str = Field(min_length=1)


class Hits(BaseModel):
    pages: list[Hit]


class Summary(BaseModel):
    """`type` is "standard", "disambiguation", "no-extract" or "mainpage"."""

    type: str
    title: str
    extract: str


@voice_tool(
    say="Looking up {topic}.",
    slow="The encyclopedia is taking its time.",
    timeout=8,
    on_barge_in="cancel",
)
async def lookup(topic: str) -> str:
    """Look up who or what something is in Wikipedia: a person, place, event, thing or idea.

    topic: a few words, as one would title an article: "Ada Lovelace", "tides".
    """
    nothing = f"Wikipedia has nothing about {topic.strip() or 'that'}. Ask the caller for other words."
    if not topic.strip():
        return nothing
    try:
        key = await _search(topic.strip())
        return nothing if key is None else _answer(await _summary(key)) or nothing
    except NotFoundError:
        return nothing
    except ServiceError as problem:
        return str(problem)


async def _search(topic: str) -> str | None:
    found = await get(Hits, SERVICE, f"{_wikipedia()}/w/rest.php/v1/search/page", {"q": topic, "limit": 1})
    return found.pages[0].key if found.pages else None


async def _summary(key: str) -> Summary:
    return await get(Summary, SERVICE, f"{_wikipedia()}/api/rest_v1/page/summary/{quote(key, safe='')}", {})


def _wikipedia() -> str:
    return base_url("WIKIPEDIA_URL", "https://en.wikipedia.org")


def _answer(summary: Summary) -> str:
    text = shorten(summary.extract)
    if summary.type == "disambiguation":
        return f"{summary.title} has several meanings; ask which one is meant. {text}".strip()
    return text


def shorten(text: str, limit: int = LONGEST) -> str:
    """`text` in one line, no longer than `limit`, ending with a sentence where one ends, else with a word."""
    text = " ".join(text.split())
    if len(text) <= limit:
        return text
    # One character more, so that a full stop at the very limit is seen to end its sentence.
    sentences = re.match(r".*[.!?][\"”’)]*(?=\s)", text[: limit + 1])
    if sentences and len(sentences[0]) <= limit:
        return sentences[0]
    return text[:limit].rpartition(" ")[0] + "…"
