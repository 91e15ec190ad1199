"""System notes: what the model is told that nobody has said, `⟦system: …⟧`, in front of the caller's words.

They stand in the caller's messages, as providers want the roles to take turns. So their marks are the system's alone:
in everything that others have written (callers, pages, tools, summaries) they are replaced by plain brackets.
"""

from __future__ import annotations

import re

_PLAIN = str.maketrans("⟦⟧〚〛", "[][]")  # the second pair looks the same
# As JSON may spell them: the client of Gemini reads a tool's JSON before it sends it.
_ESCAPED = re.compile(r"(?<!\\)((?:\\\\)*)\\u(?:(27e6|301a)|27e7|301b)", re.IGNORECASE)


def system_note(text: str) -> str:
    """A note. The text may quote what others have written."""
    return f"⟦system: {without_note_marks(text)}⟧"


def words_behind_notes(text: str) -> str:
    """What the caller said, of a message of theirs."""
    return text.rpartition("⟧")[2].strip()


def without_note_marks(text: str) -> str:
    """What others have written, so that it cannot be taken for a note, nor end one."""
    text = text.translate(_PLAIN)
    return _ESCAPED.sub(lambda found: found[1] + ("[" if found[2] else "]"), text) if "\\u" in text else text
