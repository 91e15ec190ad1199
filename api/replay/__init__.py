"""Recorded runs over the real web application: playing them, comparing with a live model, recording on a server.

May import: platforms, operations, wiring. Open first: player.py.
"""

from __future__ import annotations

from api.replay.application import settings_for, temporary_application
from api.replay.line import FakePlatform, words_of
from api.replay.live_model import Comparison, ask_again
from api.replay.player import Project, barge_in_everywhere, replay, replay_with_tools
from api.replay.recording import record

__all__ = [
    "Comparison",
    "FakePlatform",
    "Project",
    "ask_again",
    "barge_in_everywhere",
    "record",
    "replay",
    "replay_with_tools",
    "settings_for",
    "temporary_application",
    "words_of",
]
