"""Gemini slow, down, out of quota or cut off: how long the caller waits, and how often Gemini is asked."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from agent.llm.attempts import ModelCandidate, RetryPlan
from agent.llm.breaker import Breaker
from tests.support.backend import Backend
from tests.support.gemini import Gemini, Step, cut, error, stall, text

APOLOGY = "Sorry, something went wrong on my side. Please say that again."
OTHER = "google_genai:gemini-other"
SLOW = stall(30, text("Too late."))
LIMIT = 1.5  # seconds to the first token


def models(gemini: Gemini) -> list[str]:
    return ["other" if request.model == "gemini-other" else "model" for request in gemini.requests]


async def first_words(backend: Backend, said: str) -> float:
    """When they came; they are these."""
    reply = await backend.caller().say("Hello?")
    assert reply.text == said
    assert reply.ended_once
    return reply.events[0][0]


@pytest.mark.parametrize("fallback", [None, OTHER])
@pytest.mark.parametrize("trouble", [SLOW, error(503), error(429), text(""), cut(text("x"), after=0)], ids=lambda s: "")
async def test_whatever_the_trouble_the_apology_comes_within_one_deadline(
    gemini: Gemini, start: Any, trouble: Step, fallback: str | None
) -> None:
    gemini.answer = lambda _: trouble
    backend = await start(first_token_seconds=LIMIT, model_fallback=fallback)
    assert await first_words(backend, APOLOGY) < LIMIT + 0.8
    assert len(gemini.requests) <= 3


@pytest.mark.parametrize("trouble", [SLOW, error(429)], ids=["silent", "no quota"])
async def test_what_will_not_help_is_not_asked_again_where_there_is_a_fallback(
    gemini: Gemini, start: Any, trouble: Step
) -> None:
    gemini.script(trouble, text("Here I am."))
    backend = await start(first_token_seconds=LIMIT, model_fallback=OTHER)
    assert await first_words(backend, "Here I am.") < LIMIT
    assert models(gemini) == ["model", "other"]


async def test_an_answer_that_stops_in_the_middle_is_not_waited_for(gemini: Gemini, start: Any) -> None:
    gemini.script(text("One two three", delay=30))
    backend = await start(first_token_seconds=LIMIT)
    began = time.monotonic()
    reply = await backend.caller().say("Count")
    assert reply.text == f"One {APOLOGY}"
    assert time.monotonic() - began < 2 * LIMIT + 1


async def test_a_model_that_is_down_is_left_alone_and_the_fallback_answers_at_once(gemini: Gemini, start: Any) -> None:
    gemini.script(*[step for _ in range(2) for step in (error(503), error(503), text("Me."))], error(503), text("Me."))
    gemini.answer = lambda _: text("Me.")
    backend = await start(model_fallback=OTHER)
    for _ in range(6):
        assert await first_words(backend, "Me.") < 3
    assert models(gemini) == ["model", "model", "other"] * 2 + ["model", "other"] + ["other"] * 3


async def test_without_a_fallback_the_apology_comes_at_once_and_one_probe_finds_it_well_again(
    gemini: Gemini, start: Any
) -> None:
    gemini.answer = lambda _: error(503)
    backend: Backend = await start()
    assert backend.agent
    [candidate] = backend.agent._models.candidates
    candidate.breaker._pause = 1.0
    for _ in range(4):
        await first_words(backend, APOLOGY)
    assert len(gemini.requests) == 5
    gemini.answer = lambda _: text("Well again.")
    assert await first_words(backend, APOLOGY) < 0.2
    await asyncio.sleep(1)
    replies = await asyncio.gather(*(backend.caller().say("Hello?") for _ in range(5)))
    assert sum(reply.text == "Well again." for reply in replies) >= 1
    assert await first_words(backend, "Well again.") < 3


# The rules, without a network


def candidates(count: int) -> list[ModelCandidate]:
    return [ModelCandidate(object(), str(n), Breaker(failures=3, pause=10)) for n in range(count)]  # type: ignore[arg-type]


def test_a_circuit_opens_probes_once_a_pause_and_closes_on_success() -> None:
    breaker = Breaker(failures=3, pause=10)
    for _ in range(3):
        assert breaker.allows(0)
        breaker.failed(0)
    assert breaker.open
    assert [breaker.allows(at) for at in (1, 9.9, 10, 10.1, 19, 20)] == [False, False, True, False, False, True]
    breaker.succeeded()
    assert not breaker.open
    assert breaker.allows(20.1)


def test_failures_that_are_not_in_a_row_do_not_open_it() -> None:
    breaker = Breaker(failures=2, pause=10)
    for _ in range(5):
        breaker.failed(0)
        breaker.succeeded()
    assert breaker.allows(0)


def test_the_attempts_share_one_time_limit() -> None:
    now = 0.0
    attempts = RetryPlan(candidates(2), 10, lambda: now)
    spent = []
    for candidate, patience in attempts:
        spent.append((candidate.name, patience))
        now += patience
        attempts.tried(candidate, down=True)
    assert spent == [("0", 6.0), ("0", pytest.approx(2.4)), ("1", pytest.approx(1.6))]
