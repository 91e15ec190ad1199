"""The page: self-contained, with all that happened, and nothing of it read as HTML."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

from agent.llm import Usage
from api.simulate import Row, to_html
from tests.simulate.conftest import Hold
from tests.support.browser import FAINT, chromium

CALL = """\
caller:
- {say: "How is <b>Paris</b>?", interrupt_after: 4 words}
- Thanks
world:
  tools: {weather: Mild.}
model:
- call: {weather: {city: Paris}}
- It is fourteen degrees there, with rain & a wind from the west.
- Goodbye.
judge: [The agent is <i>polite</i>.]
verdicts: [{pass: false, reason: It is curt., quote: Goodbye}]
"""


def test_all_that_happened_is_in_the_page(hold: Hold) -> None:
    page = to_html([Row(Path("call.yaml"), "failed", hold(CALL)), Row(Path("x.yaml"), "broken", why="x.yaml:1: <no>")])
    assert "How is &lt;b&gt;Paris&lt;/b&gt;?" in page
    assert re.search(r"<del>[^<]*rain &amp; a wind from the west\.</del>", page), "what was cut is marked"
    bars = re.findall(r'<i class="agent" style="left:([\d.]+)%;width:([\d.]+)%', page)
    spans = [(float(at), float(at) + float(width)) for at, width in bars]
    assert len(spans) >= 2
    assert all(ends <= begins + 0.02 for (_, ends), (begins, _) in pairwise(spans)), "words are not spoken at once"
    assert re.search(r"weather\(city=&#x27;Paris&#x27;\)</code> <span class=.note.>finished, 0.1 s", page)
    assert page.count('class="cut"') == 1, "the interruption stands in the time line"
    assert re.search(r"failed</span><div><p>The agent is &lt;i&gt;polite&lt;/i&gt;\.</p><p>It is curt\.", page)
    assert "<q>Goodbye</q>" in page
    assert "x.yaml:1: &lt;no&gt;" in page
    for bad in ("<b>Paris", "<i>polite", "<script", "http://", "https://"):
        assert bad not in page


async def test_the_page_on_a_screen_and_on_a_phone_by_day_and_by_night(hold: Hold, tmp_path: Path) -> None:
    """In Chromium: nothing is wider than the window, and every text stands out from its ground."""
    held = await asyncio.to_thread(hold, CALL.replace("Thanks", f"Thanks {'x' * 200}"))
    used = replace(held, usage={role: Usage(12, 345678, 901, 2.3) for role in ("agent", "caller", "judge")})
    broken, skipped = Row(Path("x.yaml"), "broken", why="x.yaml:1: No."), Row(Path("y.yaml"), "skipped", why="live")
    rows = [Row(Path("call.yaml"), "failed", used, saved=Path(".simulated/call.json")), broken, skipped]
    several = [
        Row(Path(f"{name}.yaml"), "failed", used, number=number, setting=setting)
        for name in ("call", "a-name-that-is-long")
        for setting in ("as set", "with a-file-that-is-long.md")
        for number in (1, 2)
    ]
    async with chromium() as browser:
        for name, page_of in (("once", rows), ("several", several)):
            (tmp_path / f"{name}.html").write_text(await asyncio.to_thread(to_html, page_of))
            for width, scheme in product((1000, 390), ("light", "dark")):
                page = await browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
                await page.goto((tmp_path / f"{name}.html").as_uri())
                assert await page.evaluate("document.documentElement.scrollWidth") == width
                assert await page.evaluate(FAINT) == []
                assert await page.locator("details[open]").count() == (2 if name == "once" else 4)
