"""The stand-in's clock of what has been played: pure, in seconds that the test counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.platforms.playback import Playback


def test_nothing_is_heard_before_it_begins() -> None:
    playback = Playback()
    assert playback.heard(5) == ""
    playback.add("Good morning.", 1.0, now=5)
    assert playback.heard(5) == ""


def test_all_of_it_is_heard_when_its_time_is_over() -> None:
    playback = Playback()
    playback.add("Good morning. ", 1.0, now=5)
    playback.add("How are you?", 1.0, now=5)
    assert playback.heard(6) == "Good morning."
    assert playback.heard(7) == "Good morning. How are you?"
    assert playback.ends_at == 7


@pytest.mark.parametrize(("seconds", "heard"), [(0.2, ""), (0.45, "one"), (0.8, "one two"), (1.0, "one two six")])
def test_only_whole_words_count(seconds: float, heard: str) -> None:
    playback = Playback()
    playback.add("one two six", 1.0, now=0)
    assert playback.heard(seconds) == heard


def test_words_that_came_in_pieces_are_whole_words() -> None:
    playback = Playback()
    for piece in ("Good mor", "ning, A", "da"):
        playback.add(piece, len(piece) / 10, now=0)
    assert playback.heard(0.9) == "Good"
    assert playback.heard(1.3) == "Good morning,"
    assert playback.heard(1.7) == "Good morning, Ada"


def test_a_pause_of_the_backend_is_a_pause_of_the_voice() -> None:
    playback = Playback()
    playback.add("One moment. ", 1.0, now=0)
    playback.add("It is ten.", 1.0, now=9)
    assert playback.heard(8.9) == "One moment."
    assert playback.heard(9.0) == "One moment."
    assert playback.heard(10) == "One moment. It is ten."


def test_what_cannot_be_spoken_takes_no_time() -> None:
    playback = Playback()
    playback.add("🙂 ", 0.0, now=1)
    playback.add("Yes.", 1.0, now=1)
    assert playback.heard(2) == "🙂 Yes."


@pytest.mark.parametrize(
    ("text", "seconds", "heard"),
    [
        ("今日は晴れです。明日は雨です。", 0.5, "今日は晴れです"),
        ("ยินดีต้อนรับ", 0.5, "ยินดีต"),
        ("我用Python写代码", 0.5, "我用"),
        ("我用Python写代码", 0.75, "我用Python"),
        ("안녕하세요 여러분", 0.9, "안녕하세요"),
    ],
)
def test_a_script_without_spaces_is_heard_by_the_character(text: str, seconds: float, heard: str) -> None:
    playback = Playback()
    playback.add(text, 1.0, now=0)
    assert playback.heard(seconds) == heard


@given(st.lists(st.tuples(st.text("ab ,.", max_size=9), st.floats(0, 3), st.floats(0, 4)), max_size=6))
def test_what_is_heard_only_grows_and_is_a_beginning_of_the_text(pieces: list[tuple[str, float, float]]) -> None:
    playback, now = Playback(), 0.0
    for text, seconds, pause in pieces:
        now += pause
        playback.add(text, seconds, now)
    whole = "".join(text for text, _, _ in pieces).rstrip()
    before = ""
    for tick in range(40):
        heard = playback.heard(tick)
        assert whole.startswith(heard)
        assert heard.startswith(before)
        before = heard
    assert playback.heard(playback.ends_at) == whole
