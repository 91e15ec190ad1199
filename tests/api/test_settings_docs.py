"""docs/settings.md and .env.example say what api/settings/ says."""

from __future__ import annotations

from api.settings import Settings
from tests.support.settings_docs import EXAMPLE, OTHERS, SETTINGS, example, fields, settings_page

STALE = "run `uv run poe docs`"


def test_every_setting_has_a_description_of_whole_sentences() -> None:
    assert len(list(fields())) == len(Settings.model_fields)
    assert [variable for _, variable, _, text in fields() if not text.endswith(".")] == []


def test_the_page_of_settings_is_current() -> None:
    assert SETTINGS.read_text(encoding="utf-8") == settings_page(), STALE


def test_every_setting_is_in_the_example_with_its_description_and_default() -> None:
    assert EXAMPLE.read_text(encoding="utf-8").partition(OTHERS)[0] == example(), STALE
