"""How long Gemini may think before it answers: as little as it can, unless something else is asked for.

Newer models take a level, which the library knows for most of them; those of 2.5 take a number of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_LEVELS = ("minimal", "low", "medium", "high")
_LEAST_TOKENS = {"gemini-2.5-flash": 0, "gemini-2.5-pro": 128}  # by the beginning of the name


def thinking_options(model: str, profile: dict[str, Any], asked: str | None) -> dict[str, Any]:
    """Fields of the library's class. ValueError, with what can be asked of the model, for anything else.

    profile: what the library knows of the model. asked: `off`, a level, or a number of tokens; None for the least. If
    it may think, its thoughts are asked for too: they show that it is alive.
    """
    if levels := profile.get("reasoning_effort_levels"):
        return _level(levels, asked)
    budget = next((tokens for name, tokens in _LEAST_TOKENS.items() if model.startswith(name)), None)
    if asked is None:
        return {} if budget is None or not profile.get("reasoning_output") else _tokens(budget)
    if asked in _LEVELS and budget is None:
        return _level(_LEVELS, asked)
    if asked == "off" or asked.lstrip("-").isdigit():
        return _tokens(0 if asked == "off" else int(asked))
    takes = "off or a number of tokens" if budget is not None else f"off, {', '.join(_LEVELS)}, or a number of tokens"
    raise ValueError(takes)


def _level(levels: Sequence[str], asked: str | None) -> dict[str, Any]:
    least = levels[0]
    level = least if asked is None or (asked == "off" and least == "minimal") else asked
    if level not in levels:
        raise ValueError(", ".join((["off"] if least == "minimal" else []) + [*levels]))
    return {"reasoning_effort": level, **({} if level == "minimal" else {"include_thoughts": True})}


def _tokens(budget: int) -> dict[str, Any]:
    return {"thinking_budget": budget, **({"include_thoughts": True} if budget else {})}
