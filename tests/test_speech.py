"""What the caller hears of what the model wrote."""

import re
import string

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent.speech import Speakable, speakable

FEW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Pieces that mean something, alone or together with their neighbours.
PIECES = [
    *"*_~`#-+•>|=:/\\[]()!<.,;?&h5 \n\t\r",
    *["  ", "\n\n", "**", "--", "---", "```", "~~~", "python", "1.", "# ", "- ", "* ", "> ", "|---|:-:|\n"],
    *["http", "ht", "tps", "tp://", "https://", "http://x.y/z", "://", "www", "www.", "ww", "w.", "mailto:"],
    *["<b>", "</b>", "<br/>", "<", "<!--", "-->", "<think>", "</think>", "<script>", "x>", "<b", "a<b"],
    *["[", "](", "][", "](x)", "[^1]", "![", "[a](b (c) \"d\")", "[x] ", "(", ")"],
    *["😀", "👩\u200d🚀", "\ufe0f", "\u20e3", "\u200d", "\u200b", "\x07", "é", "न\u094d\u200d", "好", "。", "me"],
    *["word", " word", "Hello,", "snake_case", "5 * 3", "5*3", "-5", "C#", "°C", "\ud800", "×", "…", "🇩🇪"],
]  # fmt: skip
anything = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=14).map("".join),
    st.text(max_size=30),
)
plain_words = st.lists(
    st.text(string.ascii_letters + string.digits + "äéß", min_size=1, max_size=9), min_size=1, max_size=8
)


def in_pieces(pieces: list[str]) -> str:
    reader = Speakable()
    return "".join([reader.feed(piece) for piece in pieces] + [reader.end()])


@st.composite
def cut_text(draw: st.DrawFn) -> tuple[str, list[str]]:
    text = draw(anything)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
    bounds = [0, *cuts, len(text)]
    return text, [text[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]


@given(cut_text())
@FEW
def test_the_speech_does_not_depend_on_how_the_text_was_cut(cut: tuple[str, list[str]]) -> None:
    text, pieces = cut
    assert in_pieces(pieces) == speakable(text)
    assert in_pieces(list(text)) == speakable(text)
