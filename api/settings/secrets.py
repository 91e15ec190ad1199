"""Secrets: made anew, and told from the placeholders of examples."""

from __future__ import annotations

import re
import secrets

from pydantic import SecretStr

_PREFIX = "whsec_"
_SHORTEST = 8  # characters of a secret, after its prefix
_WORDS = (
    "your|my|our|the|this|that|here|it|me|some|any|new|real|actual|dummy|demo|sample|example|test|testing|dev|local|"
    "super|placeholder|change|replace|insert|enter|add|put|paste|fill|set|copy|use|with|from|to|by|in|of|is|and|not|"
    "todo|fixme|tbd|none|null|nil|undefined|default|value|token|password|string|secret|key|api|webhook|hook|signing|"
    "layercode|agent|dashboard|voice|whsec|env|please|for|now"
)
# All of it must be words, one character again and again, or in brackets: no random secret is, whatever it contains.
_PLACEHOLDER = re.compile(
    rf"(?:{_WORDS}|x|[-_.,:/ ])+\d{{0,4}}[!?.]*|(.)\1*|<.*>|\[.*\]|\(.*\)|\$?\{{.*\}}|%.*%|.*(?:\.\.\.|…).*",
    re.DOTALL,
)


def is_placeholder(secret: SecretStr) -> bool:
    """Whether anybody could guess it."""
    random = secret.get_secret_value().lower().removeprefix(_PREFIX)
    return len(random) < _SHORTEST or bool(_PLACEHOLDER.fullmatch(random))


def new_secret() -> SecretStr:
    return SecretStr(f"{_PREFIX}{secrets.token_hex(16)}")
