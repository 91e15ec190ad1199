"""The playground's page, in a real Chromium, against `voice dev` in a process of its own, with the demo model."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.support.backend import ROOT, free_port, process, until_ready
from tests.support.backend import client as http_client
from tests.support.browser import REFUSED, Visitor, chromium, visitor
from tests.support.processes import Process

pytestmark = pytest.mark.asyncio(loop_scope="module")

STORY = " ".join(f"And then came word number {n} of a long story." for n in range(20))
TOOLS = f'''
import asyncio
from agent import say, show, voice_tool

@voice_tool(say="PendingContext the book.", on_barge_in="cancel")
async def story(title: str) -> str:
    """Read a story aloud."""
    await asyncio.sleep(0.3)
    say("Turning the pages.")
    await asyncio.sleep(0.3)
    show({{"cover": "<img src=x onerror=alert(1)>"}})
    return "{STORY}"
'''
TIDES = '''
from agent import voice_tool

@voice_tool
async def tides(harbour: str) -> str:
    """Next high and low water at a harbour."""
    return f"High water at six in {harbour}."
'''
_RECOGNISES = """
globalThis.SpeechRecognition = class {
  start() { this.onstart(); setTimeout(() => this.finish(), 50); }
  finish() { this.onresult({ results: [[{ transcript: "Is anybody there?" }]] }); this.onend(); }
};
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's folder: nothing is written where the tests stand."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "tools").mkdir()
    (folder / "tools" / "bookings.py").write_bytes((ROOT / "tools" / "bookings.py").read_bytes())
    (folder / "tools" / "stories.py").write_text(TOOLS)
    return folder


class Dev:
    """`voice dev` in a project's folder, and what else is run there. It can be killed and started again."""

    def __init__(self, project: Path, http: httpx.AsyncClient, stack: ExitStack) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.project = project
        self._http = http
        self._stack = stack

    @contextmanager
    def run(self, *command: str) -> Iterator[Process]:
        env = {"TOOLS_DIR": str(self.project / "tools"), "DATABASE_URL": f"sqlite:///{self.project}/voice.db"}
        with ExitStack() as stack:
            with chdir(self.project):
                running = stack.enter_context(process(list(command), MODEL="demo", **env))
            yield running

    async def start(self) -> None:
        self._running = self._stack.enter_context(self.run("dev", "--port", self.url.rpartition(":")[2]))
        await until_ready(self._http, self.url, self._running)

    def kill(self) -> None:
        self._running.kill()
        self._running.wait()

    async def storage(self, conversation: str) -> list[dict[str, Any]]:
        answer = await self._http.get(f"{self.url}/playground/state", params={"conversation_id": conversation})
        return list(answer.json()["memory"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(project: Path) -> AsyncIterator[Dev]:
    with ExitStack() as stack:
        async with http_client() as http:
            dev = Dev(project, http, stack)
            await dev.start()
            yield dev


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def here(server: Dev, browser: Browser) -> AsyncIterator[Visitor]:
    async with visitor(browser) as arrived:
        await arrived.open(server.url)
        yield arrived


async def test_a_question_shows_progress_the_tool_call_what_it_shows_and_the_answer(here: Visitor) -> None:
    """And the browser's voice speaks it, and the time it took is drawn and told in words."""
    await here.sees("#demo", "GOOGLE_GENERATIVE_AI_API_KEY")
    await here.say("Read me the story of Momo")
    await here.sees("#log .caller", "Read me the story of Momo")
    await here.sees(".progress", "PendingContext the book.", "Turning the pages.")
    await here.sees(".call-card", 'story(title: "Momo")', "finished · ", "And then came word number 0")
    await here.sees(".shown", '"cover": "<img src=x onerror=alert(1)>"')
    await here.sees(".words", "word number 2")
    await here.sees("#turns .figures", "first token", "story", "so far")
    assert "PendingContext the book." not in await here.text(".words").first.inner_text()
    await expect(here.page.get_by_role("img", name=re.compile("^Timeline: first token .*story .*"))).to_be_visible()
    assert (await here.page.evaluate("spoken"))[:2] == ["PendingContext the book.", "Turning the pages."]


async def test_an_interrupted_answer_is_cut_on_the_page_and_in_memory_at_what_was_heard(
    here: Visitor, server: Dev
) -> None:
    await here.say("Read me the story of Momo")
    await here.sees(".words", "word number 12")
    await here.page.keyboard.press("Escape")
    await here.sees(".interrupted", "words were heard")
    cut = await here.text("#log del").all_inner_texts()
    assert "word number 12" in cut[-1]
    assert "(not heard:)" in cut[0]
    assert await here.page.evaluate("silenced") > 0
    await expect(here.text("#log .error")).to_have_count(0)

    await here.say("What can you do?")
    await here.sees(".words", "I found no tool for that")
    heard = await here.heard()
    assert heard.startswith("This is the demo")
    await here.sees("#memory", "What can you do?")  # a turn's words come before what it remembers
    storage = await server.storage(here.conversation)
    assert [words(entry["agent"]) for entry in storage if entry.get("interrupted")] == [words(heard)], storage
    await here.sees("#memory", "interrupted, as far as heard")


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


async def test_over_the_relay_an_interruption_cuts_the_memory_at_what_was_heard(here: Visitor, server: Dev) -> None:
    """On a phone's wire, which tells the last words of it. A reload calls again, on the same wire."""
    layercode = here.conversation
    await here.page.get_by_label("Wire", exact=True).select_option("relay")
    await expect(here.page).not_to_have_url(f"{server.url}/#{layercode}")
    await here.connected()
    await here.say("Read me the story of Momo")
    await here.sees(".words", "word number 14")
    await here.page.keyboard.press("Escape")
    await here.sees(".interrupted", "words were heard")
    await here.say("What can you do?")
    await here.sees(".words", "I found no tool for that")
    heard = words(await here.heard())
    await here.sees("#memory", "What can you do?", "interrupted, as far as heard")
    storage = await server.storage(here.conversation)
    cut = [words(entry["agent"]) for entry in storage if entry.get("interrupted")]
    assert len(cut) == 1
    assert cut[0][:2] == ["This", "is"]
    assert heard[-len(cut[0]) :] == cut[0], "before it were the tool's own lines"
    await expect(here.page.get_by_role("button", name="Duplicate")).to_be_disabled()

    before = here.conversation
    await here.page.reload()
    await here.connected()
    assert (here.conversation, await here.page.get_by_label("Wire", exact=True).input_value()) == (before, "relay")
    await here.say("Which bookings do I have? List them.")
    await here.sees("#log .agent", "no bookings")
    await expect(here.text("#log .error")).to_have_count(0)


async def test_keys_are_there_on_a_phones_wire_and_nowhere_else(here: Visitor) -> None:
    """They are sent at once with a #, else after a pause."""
    keypad, wire = here.page.get_by_role("group", name="Keypad"), here.page.get_by_label("Wire", exact=True)
    await expect(keypad).to_be_hidden()
    await wire.select_option("relay")
    await here.connected()
    await expect(keypad).to_be_visible()
    for key in "12#":
        await keypad.get_by_role("button", name=key, exact=True).click()
    await here.sees("#log .caller", "pressed 1 2 #")
    await here.sees("#memory", "pressed 1 2 #")
    await keypad.get_by_role("button", name="7", exact=True).click()
    await here.sees("#hint", "Keys: 7")
    await here.sees("#log .caller", "pressed 7")
    assert await here.nameless() == []
    for scheme in ("light", "dark"):
        await here.page.emulate_media(color_scheme=scheme)
        assert await here.faint() == []
    await here.page.set_viewport_size({"width": 390, "height": 844})
    assert await here.page.evaluate("document.documentElement.scrollWidth") <= 390
    await wire.select_option("completions")
    await here.connected()
    await expect(keypad).to_be_hidden()


async def test_a_booking_waits_for_a_yes_is_done_once_and_can_be_saved_as_a_test(
    here: Visitor, project: Path, server: Dev
) -> None:
    await here.say("Book a table for four tomorrow at 19:00")
    await here.sees(
        "#pending", "Book a table for 4", "book_table(people: 4", "If it is heard to its end, a yes runs it"
    )
    await here.spoken()
    await here.say("What was that?")
    await here.sees("#pending", "It was heard. A yes runs it, once.")
    await here.say("Yes")
    await here.sees(".call-card", "book_table(", "finished")
    await expect(here.text("#pending")).to_be_hidden()
    await here.press("Duplicate")
    await here.sees(".note", "the same answer came, and nothing ran twice")
    with sqlite3.connect(project / "voice.db") as database:
        assert database.execute("SELECT people, status FROM bookings").fetchall() == [(4, "booked")]

    await here.press("Save as test")
    await here.page.get_by_label("Name").fill("../books")
    await here.page.keyboard.press("Enter")
    await expect(here.text("#saved .error")).to_be_visible()
    here.complaints.clear()  # the refusal stands in the console
    await here.page.get_by_label("Name").fill("books-a-table")
    await here.page.keyboard.press("Enter")
    await here.sees("#saved", "uv run voice replay tests/runs/books-a-table.json", "It replays as it went.")
    with server.run("replay", "tests/runs/books-a-table.json") as replay:
        output, _ = await asyncio.to_thread(replay.communicate, timeout=60)
    assert replay.returncode == 0, output


async def test_a_tool_file_comes_breaks_and_goes_without_a_reload(here: Visitor, project: Path) -> None:
    tides = project / "tools" / "tides.py"
    await here.sees("#tools", "book_table", "asks first")
    tides.write_text(TIDES)
    await here.sees("#tools .body", "tides")
    tides.write_text(TIDES + "\ndef broken(:\n")
    await here.sees("#tools .errors", "tides.py:9: SyntaxError")
    tides.unlink()
    await expect(here.text("#tools").get_by_text("tides")).to_have_count(0)


async def test_a_reload_resumes_the_conversation_and_a_new_one_is_new(here: Visitor) -> None:
    await here.say("Which bookings do I have? List them.")
    await here.sees("#log .agent", "no bookings")
    await here.sees("#turns .figures", "end ")  # before that it is not in the memory
    before = here.conversation
    await here.page.reload()
    await here.connected()
    assert here.conversation == before
    await here.sees(".note", "You are back in this conversation")
    await here.sees("#log .caller", "Which bookings do I have?")
    await here.sees(".call-card", "list_bookings()")
    await here.press("New")
    await expect(here.text("#log li")).to_have_count(0)
    await here.connected()
    assert here.conversation != before


async def test_when_the_server_is_gone_the_page_says_so_and_resumes_when_it_is_back(here: Visitor, server: Dev) -> None:
    await here.say("Which bookings do I have? List them.")
    await here.sees("#log .agent", "no bookings")
    server.kill()
    try:
        await here.sees("#gone", "The server is not running. Start it with: uv run voice dev")
        await here.say("Are you there?")
        await here.sees("#hint", "That was not sent.")
        await expect(here.page.get_by_label("Your message")).to_have_value("Are you there?")
    finally:
        await server.start()
    await here.connected()
    await expect(here.text("#gone")).to_be_empty()
    await here.page.keyboard.press("Enter")
    await here.sees("#log .words", "I found no tool for that")
    await here.sees("#memory", "Which bookings do I have?", "Are you there?")
    assert all("ERR_CONNECTION" in said for said in here.complaints)
    here.complaints.clear()


async def test_speech_that_the_browser_recognises_is_sent_as_words(browser: Browser, server: Dev) -> None:
    async with visitor(browser, _RECOGNISES) as here:
        await here.open(server.url)
        await here.page.get_by_role("button", name="Talk").press("Space")
        await here.sees("#log .caller", "Is anybody there?")
        await expect(here.page.get_by_role("button", name="Talk")).to_have_attribute("aria-pressed", "false")


async def test_without_speech_or_a_microphone_the_page_says_that_typing_works(here: Visitor) -> None:
    await here.page.get_by_role("button", name="Talk").press("Space")
    await here.sees("#hint", "This browser cannot recognise speech")
    await here.page.add_init_script(REFUSED)
    await here.page.reload()
    await here.connected()
    await here.page.get_by_role("button", name="Talk").press("Enter")
    await here.sees("#hint", "The microphone is not allowed.")
    await here.say("Is anybody there?")
    await here.sees(".words", "I found no tool for that")


async def test_it_is_used_by_the_keyboard_alone(here: Visitor) -> None:
    """From the text field each control is a Tab away, and Enter does what a click does."""
    reached = set()
    for _ in range(16):
        await here.page.keyboard.press("Tab")
        reached.add(await here.page.evaluate("(e => e.ariaLabel || e.innerText.trim())(document.activeElement)"))
        assert await here.page.locator(":focus:not(:focus-visible)").count() == 0
    controls = {
        "Wire",
        "New",
        "Reconnect",
        "Duplicate",
        "Save as test",
        "Sound on",
        "Talk",
        "Your message",
        "Send",
        "Interrupt",
    }
    assert controls <= reached
    await here.page.get_by_role("button", name="Sound on").press("Enter")
    await expect(here.page.get_by_role("button", name="Sound off")).to_be_focused()
    await here.page.get_by_role("button", name="Save as test").press("Enter")
    await expect(here.page.get_by_label("Name")).to_be_focused()
    await here.page.keyboard.press("Escape")
    await expect(here.page.get_by_role("button", name="Save as test")).to_be_focused()


async def test_it_can_be_read_by_screen_readers_and_in_the_dark_and_on_a_phone(here: Visitor) -> None:
    """Every control has a name; every text stands out from what is behind it; nothing is wider than a phone."""
    await here.say("Book a table for four tomorrow at 19:00")
    await here.sees("#pending", "book_table(people: 4")
    await here.say("Read me the story of Momo")
    await here.sees(".words", "word number 1")
    await here.page.keyboard.press("Escape")
    await here.sees(".interrupted", "words were heard")
    assert await here.nameless() == []
    for role in ("banner", "main", "complementary", "log", "form"):
        await expect(here.page.get_by_role(role)).to_have_count(1)
    await expect(here.page.get_by_role("log").get_by_role("list")).to_have_count(1)
    for scheme in ("light", "dark"):
        await here.page.emulate_media(color_scheme=scheme)
        assert await here.faint() == []
    await here.page.set_viewport_size({"width": 390, "height": 844})
    assert await here.page.evaluate("document.documentElement.scrollWidth") <= 390
