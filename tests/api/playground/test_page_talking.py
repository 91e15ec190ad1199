"""The playground's page in a real Chromium: talking and interrupting, with a backend that does as it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, expect

from tests.support.browser import REFUSED, Visitor, chromium, visitor
from tests.support.playground import Foreign, development, foreign

pytestmark = pytest.mark.asyncio(loop_scope="module")

POEM = "床前明月光，疑是地上霜。举头望明月，低头思故乡。" * 3
# It goes on until it is stopped, and then has understood something.
_LISTENS = """
globalThis.SpeechRecognition = class {
  start() { this.onstart(); }
  stop() { this.onresult({ results: [[{ transcript: "Half a sent" }]] }); setTimeout(() => this.onend(), 50); }
};
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def backend() -> AsyncIterator[Foreign]:
    async with foreign() as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def url(backend: Foreign, tmp_path: Path) -> AsyncIterator[str]:
    async with development(backend.url, database_url=f"sqlite:///{tmp_path}/dev.db") as server:
        yield server.url


@pytest_asyncio.fixture(loop_scope="module")
async def here(url: str, browser: Browser) -> AsyncIterator[Visitor]:
    async with visitor(browser) as arrived:
        await arrived.open(url)
        yield arrived


@pytest_asyncio.fixture(loop_scope="module")
async def dictating(url: str, browser: Browser) -> AsyncIterator[Visitor]:
    async with visitor(browser, _LISTENS) as arrived:
        await arrived.open(url)
        await button(arrived).press("Enter")
        await expect(button(arrived)).to_have_attribute("aria-pressed", "true")
        yield arrived


def button(here: Visitor) -> Locator:
    return here.page.get_by_role("button", name="Talk")


async def test_reconnect_ends_what_is_being_said(here: Visitor) -> None:
    await here.say("slow")
    await here.sees(".words", "word3")
    before = await here.page.evaluate("silenced")
    await here.press("Reconnect")
    await here.connected()
    await expect(here.page.locator("[aria-busy=true]")).to_have_count(0)
    assert await here.page.evaluate("silenced") > before


async def test_a_script_without_spaces_is_cut_at_the_character(here: Visitor, backend: Foreign) -> None:
    await here.say(POEM)
    await here.sees(".words", "床前")
    await here.page.wait_for_timeout(1500)
    await here.page.keyboard.press("Escape")
    await here.sees(".interrupted", "of 60 words were heard")
    words = here.text("#log .words").last
    heard = await words.evaluate("e => e.firstChild.data")
    assert POEM.startswith(heard)
    assert 10 < len(heard) < 60
    assert await words.locator("del").text_content() == f" (not heard:) {POEM.removeprefix(heard)}"
    await here.say("Stop.")
    await backend.until("message", 2)
    assert backend.of("message")[1]["interruption_context"]["text_heard"] == heard


async def test_a_text_that_is_too_long_stays_where_it_is(here: Visitor, backend: Foreign) -> None:
    await here.say("x" * 100_001)
    await here.sees("#hint", "That was not sent. It is longer than 100,000 characters: shorten it.")
    await expect(here.page.get_by_label("Your message")).to_have_value("x" * 100_001)
    assert not backend.of("message")


async def test_of_another_backend_it_is_not_said_that_nothing_ran_twice(here: Visitor) -> None:
    await here.press("Duplicate")
    await expect(here.text(".note")).to_have_text("The last webhook was sent once more: the same answer came.")


@pytest.mark.parametrize(
    ("recognition", "hint"),
    [
        ("globalThis.webkitSpeechRecognition = undefined;", "This browser cannot recognise speech"),
        (REFUSED, "The microphone is not allowed."),
    ],
)
async def test_who_cannot_be_heard_does_not_interrupt(
    recognition: str, hint: str, browser: Browser, url: str, backend: Foreign
) -> None:
    """Neither without a recognition, nor without a microphone."""
    async with visitor(browser) as here:
        await here.page.add_init_script(recognition)
        await here.open(url)
        await here.say("wait")
        await here.sees(".words", "wait")
        await button(here).press("Enter")
        await here.sees("#hint", hint)
        await expect(here.text(".agent").last.locator(".interrupted")).to_have_count(0)
        assert not backend.dropped


async def test_to_talk_interrupts_before_a_word_is_understood(browser: Browser, url: str) -> None:
    async with visitor(browser, _LISTENS) as here:
        await here.open(url)
        await here.say("wait")
        await here.sees(".words", "wait")
        await button(here).press("Enter")
        await expect(here.text(".agent").last.locator(".interrupted")).to_be_visible()
        await expect(here.text("#log .caller")).to_have_count(1)


async def test_what_began_with_a_key_does_not_end_with_a_click_elsewhere(dictating: Visitor, backend: Foreign) -> None:
    await dictating.page.wait_for_timeout(500)
    await dictating.text("h1").click()
    await dictating.page.wait_for_timeout(300)
    await expect(button(dictating)).to_have_attribute("aria-pressed", "true")
    await button(dictating).press("Enter")
    await dictating.sees("#log .caller", "Half a sent")


@pytest.mark.parametrize("press", ["Interrupt", "New"])
async def test_what_is_half_dictated_is_not_sent(press: str, dictating: Visitor, backend: Foreign) -> None:
    await dictating.press(press)
    await expect(button(dictating)).to_have_attribute("aria-pressed", "false")
    await dictating.connected()
    await dictating.say("Whole.")
    assert (await backend.until("message"))["text"] == "Whole."


async def test_a_session_that_is_over_says_so(browser: Browser, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.playground.session.SESSION_SECONDS", 1.0)
    async with visitor(browser) as here:
        await here.page.goto(url)
        await here.sees("#gone", "A session lasts an hour at most, and this one is over. Press Reconnect")
        await here.page.wait_for_timeout(1500)
        await here.sees("#gone", "A session lasts an hour at most, and this one is over. Press Reconnect")
