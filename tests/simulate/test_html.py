"""The page: self-contained, with all that happened, and nothing of it read as HTML."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

from api.simulate import Row, to_html
from tests.simulate.conftest import Hold

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
