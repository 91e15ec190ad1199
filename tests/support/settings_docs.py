"""`uv run poe docs`: writes docs/settings.md, and .env.example up to its last part, from the fields of Settings.

The rest of .env.example, variables that Settings does not read, is written by hand and kept.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo

from api.settings import SECTIONS

ROOT = Path(__file__).parent.parent.parent
SETTINGS, EXAMPLE = ROOT / "docs" / "settings.md", ROOT / ".env.example"
OTHERS = "# --- Tracing ---"  # where the part of .env.example begins that is written by hand

_UNSET = ("database_url",)  # set in .env, they would override what the Docker image sets
_INTRODUCTION = """\
# Settings

Settings are read from environment variables, then from `.env`. An empty variable counts as unset. What `.env` holds is
also exported for tools and libraries. `voice serve` refuses to start when a value cannot be understood, and names it.

This page is generated from `api/settings/`: change a description there and run `uv run poe docs`.
"""
_HEAD = """\
# Copy to .env and fill in what you need. Variables of the environment are used before those of this file.
# What this file sets is exported to tools and libraries too: LANGSMITH_TRACING, the keys of your own services, …
"""


def fields() -> Iterator[tuple[str | None, str, str, str]]:
    """(the title of the section that begins here, variable, default, description) of each setting."""
    for title, name, field in _fields():
        alias = field.validation_alias
        variable = str(alias.choices[0]) if isinstance(alias, AliasChoices) else name.upper()
        yield title, variable, _written(field.default), field.description or ""


def _fields() -> Iterator[tuple[str | None, str, FieldInfo]]:
    """Each section's, the first with its title."""
    for section in SECTIONS:
        for number, (name, field) in enumerate(section.model_fields.items()):
            yield (section.__doc__ if number == 0 else None), name, field


def settings_page() -> str:
    text = _INTRODUCTION
    for section, variable, default, description in fields():
        if section:
            text += f"\n## {section}\n\n| variable | default | |\n|---|---|---|\n"
        text += f"| `{variable}` | {f'`{default}`' if default else ''} | {description} |\n"
    return text


def example() -> str:
    text = _HEAD
    for section, variable, default, description in fields():
        text += f"\n# --- {section} ---\n" if section else ""
        text += textwrap.fill(description, 118, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
        text += f"\n{'# ' if variable.lower() in _UNSET else ''}{variable}={default}\n"
    return f"{text}\n"


def _written(default: Any) -> str:
    """A default as it is written in an environment variable."""
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return f"{default:g}"
    return "" if default is None else ",".join(default) if isinstance(default, list) else str(default)


if __name__ == "__main__":
    SETTINGS.write_text(settings_page(), encoding="utf-8")
    by_hand = EXAMPLE.read_text(encoding="utf-8").partition(OTHERS)[2]
    EXAMPLE.write_text(f"{example()}{OTHERS}{by_hand}", encoding="utf-8")
