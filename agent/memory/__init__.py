"""What is remembered of a conversation: pure functions on messages. What was heard, late results, confirmations.

May import: storage (its entries), turns, speech. Open first: history.py.
"""

from __future__ import annotations

from agent.memory import confirmation, history
from agent.memory.confirmation import CONFIRM, Pending, latest, still_asks
from agent.memory.given import given
from agent.memory.guesses import without_guess
from agent.memory.heard import count_words, heard_text, whole_words
from agent.memory.history import is_summary, newest, repair
from agent.memory.in_words import found
from agent.memory.shown import Shown, all_in_words

__all__ = [
    "CONFIRM",
    "Pending",
    "Shown",
    "all_in_words",
    "confirmation",
    "count_words",
    "found",
    "given",
    "heard_text",
    "history",
    "is_summary",
    "latest",
    "newest",
    "repair",
    "still_asks",
    "whole_words",
    "without_guess",
]
