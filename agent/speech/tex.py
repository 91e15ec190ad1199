"""TeX formulas as text: simple ones right, others without their commands."""

from __future__ import annotations

import re
import unicodedata

_SYMBOLS = {
    "times": "×", "cdot": "·", "div": "÷", "pm": "±", "mp": "∓", "leq": "≤", "le": "≤", "geq": "≥", "ge": "≥",
    "neq": "≠", "ne": "≠", "approx": "≈", "sim": "~", "equiv": "≡", "infty": "∞", "to": "→", "rightarrow": "→",
    "Rightarrow": "⇒", "sum": "∑", "prod": "∏", "int": "∫", "in": "∈", "degree": " °", "circ": "∘", "ldots": "…",
    "dots": "…", "cdots": "…", "euro": "€", "pounds": "£", "quad": " ", "qquad": " ", "left": "", "right": "",
    "displaystyle": "", "sqrt": "√",
}  # fmt: skip
_ATOM = re.compile(r"√?[\w.,]*")
_FRACTION = re.compile(r"\\[dt]?frac\s*(?:\{([^{}]*)\}\s*\{([^{}]*)\}|(\d)(\d))")
_ROOT = re.compile(r"\\sqrt\s*\{([^{}]*)\}")
_WORDS = re.compile(r"\\(?:text|math|operator)[a-z]*\s*\{([^{}]*)\}|\\(?:boxed|mbox)\s*\{([^{}]*)\}")
_DEGREE = re.compile(r"\s*\^\s*\{?\s*\\(?:circ|degree)(?![A-Za-z])\s*\}?")
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_SPACE = re.compile(r"\\[,;:!\\ \n]|[~&]")
_DEEPEST = 8


def tex_to_text(source: str) -> str:
    """The text of a formula without its delimiters: `\\frac{1}{2}` is "1/2", `21^\\circ` is "21 °"."""
    text = _DEGREE.sub(" °", source)
    for _ in range(_DEEPEST):  # the innermost first
        before = text
        text = _FRACTION.sub(lambda m: f"{_atom(m[1] or m[3] or '')}/{_atom(m[2] or m[4] or '')}", text)
        text = _ROOT.sub(lambda m: f"√{_atom(m[1])}", text)
        text = _WORDS.sub(lambda m: m[1] or m[2] or "", text)
        text = re.sub(r"([\^_])\{([^{}]*)\}", lambda m: m[1] + _atom(m[2]), text)
        if text == before:
            break
    text = _COMMAND.sub(lambda m: _symbol(m[1]), _SPACE.sub(" ", text))
    return re.sub(r"\\(?=[^\w\s])|[{}]", "", text)


def _atom(text: str) -> str:
    """`text` in brackets where it is more than one thing."""
    text = text.strip()
    return text if _ATOM.fullmatch(text) else f"({text})"


def _symbol(name: str) -> str:
    if name in _SYMBOLS:
        return _SYMBOLS[name]
    case = "CAPITAL" if name[0].isupper() else "SMALL"
    try:
        return unicodedata.lookup(f"GREEK {case} LETTER {name.removeprefix('var').upper()}")
    except KeyError:
        return name
