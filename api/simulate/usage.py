"""What the models of simulated calls took, by role: requests, tokens, time."""

from __future__ import annotations

from collections.abc import Sequence

from agent.llm import Usage
from api.simulate.row import Row

ROLES = ("agent", "caller", "judge")


def usage_by_role(rows: Sequence[Row]) -> dict[tuple[str, str], Usage]:
    """By role and setting, of all rows."""
    settings = dict.fromkeys(row.setting for row in rows)
    total = {(role, setting): Usage() for setting in settings for role in ROLES}
    for row in rows:
        for role, used in row.result.usage.items() if row.result else ():
            total[role, row.setting].add(used)
    return total


def told(rows: Sequence[Row]) -> dict[str, str]:
    """What each role took, in words. Nothing if no model was asked: what is scripted asks none."""
    total = usage_by_role(rows)
    if not any(used.requests for used in total.values()):
        return {}
    return {" ".join(filter(None, key)): in_words(used) for key, used in total.items()}


def in_words(used: Usage) -> str:
    if not used.requests:
        return "no model was asked"
    requests = f"{used.requests} request{'s' if used.requests > 1 else ''}"
    tokens = f"{used.input} tokens in, {used.output} out" if used.input or used.output else "no tokens were told"
    return f"{requests}, {tokens}, {used.seconds:.1f} s"
