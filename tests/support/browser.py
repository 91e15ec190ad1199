"""A real Chromium without a window, and what a visitor does with the playground's page in it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Locator, Page, async_playwright, expect

# What would reach for the network by itself, or need a desktop.
_FLAGS = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync"""
# The browser's own speech, which a machine without a loudspeaker lacks: what is said, and when it falls silent.
_SPEECH = """
globalThis.spoken = []; globalThis.silenced = 0;
Object.defineProperty(globalThis, "speechSynthesis", { value: {
  speak: (utterance) => spoken.push(utterance.text), cancel: () => { silenced += 1; } } });
globalThis.SpeechSynthesisUtterance = class { constructor(text) { this.text = text; } };
globalThis.SpeechRecognition = undefined; globalThis.webkitSpeechRecognition = undefined;
"""
# A recognition that the browser does not allow: the visitor has clicked "Block".
REFUSED = """
globalThis.SpeechRecognition = class {
  start() { setTimeout(() => { this.onerror({ error: "not-allowed" }); this.onend(); }); }
  stop() {}
};
"""
FAINT = (Path(__file__).parent / "contrast.js").read_text()
_CONTROLS = {"button", "textbox", "link", "checkbox", "combobox", "dialog", "region", "log", "form", "img"}
expect.set_options(timeout=15_000)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    path = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
    assert path, "Chromium is missing, and the page is tested in it: apt-get install chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=_FLAGS.split())
        yield browser
        await browser.close()


@dataclass
class Visitor:
    """complaints: errors of the page, and what its console says."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def text(self, selector: str) -> Locator:
        return self.page.locator(selector)

    async def open(self, url: str) -> None:
        await self.page.goto(url)
        await self.connected()

    async def connected(self) -> None:
        await expect(self.page.get_by_text("Connected", exact=True)).to_be_visible()

    async def say(self, words: str) -> None:
        await self.page.get_by_label("Your message").fill(words)
        await self.page.keyboard.press("Enter")

    async def sees(self, selector: str, *texts: str) -> None:
        """All these texts, each in an element of its own or not."""
        for words in texts:
            await expect(self.page.locator(selector).filter(has_text=words).first).to_be_visible()

    async def spoken(self) -> None:
        """Wait until the answer has been spoken to its end, by the server's clock."""
        await expect(self.page.locator("#log .agent").last).not_to_have_attribute("aria-busy", "true")

    async def press(self, name: str) -> None:
        await self.page.get_by_role("button", name=name, exact=True).click()

    async def heard(self) -> str:
        """What the page shows as heard of the model's first answer."""
        pieces = self.page.locator("#log .agent").first.locator(".words")
        heard = "e => [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.data).join('')"
        return " ".join([str(await piece.evaluate(heard)).strip() for piece in await pieces.all()])

    async def faint(self) -> list[Any]:
        return list(await self.page.evaluate(FAINT))

    async def nameless(self) -> list[Any]:
        """Controls and pictures without a name in the accessibility tree."""
        devtools = await self.page.context.new_cdp_session(self.page)
        nodes = (await devtools.send("Accessibility.getFullAXTree"))["nodes"]
        named = [node for node in nodes if not node["ignored"] and node["role"]["value"] in _CONTROLS]
        assert len(named) > 10
        return [node for node in named if not node.get("name", {}).get("value")]

    @property
    def conversation(self) -> str:
        return self.page.url.partition("#")[2]


@asynccontextmanager
async def visitor(browser: Browser, init: str = _SPEECH) -> AsyncIterator[Visitor]:
    """A visitor with a fresh profile. At the end the page has had nothing to complain of."""
    async with await browser.new_context() as fresh:
        await fresh.add_init_script(init)
        here = Visitor(await fresh.new_page())
        here.page.on("pageerror", lambda error: here.complaints.append(str(error)))
        here.page.on("console", lambda message: here.complaints.append(_complaint(message)))
        yield here
        assert not here.complaints


def _complaint(message: ConsoleMessage) -> str:
    return f"{message.type}: {message.text} ({message.location.get('url')})"
