"""Recorded runs over the real web application: playing them, comparing with a live model, recording on a server.

May import: platforms, operations, wiring. Open first: player.py; then wires.py, http_wires.py and socket_wires.py: how
recorded turns are asked for through the platforms' clients.
"""

from __future__ import annotations

from api.replay.application import settings_for, temporary_application
from api.replay.heard import Heard, words_of
from api.replay.http_wires import LayercodeWire
from api.replay.live_model import Comparison, ask_again
from api.replay.player import Project, barge_in_everywhere, config_for, parts_for, replay, replay_with_tools
from api.replay.recording import record, settings_in_force
from api.replay.socket_wires import keys_of
from api.replay.wires import client_of

__all__ = [
    "Comparison",
    "Heard",
    "LayercodeWire",
    "Project",
    "ask_again",
    "barge_in_everywhere",
    "client_of",
    "config_for",
    "keys_of",
    "parts_for",
    "record",
    "replay",
    "replay_with_tools",
    "settings_for",
    "settings_in_force",
    "temporary_application",
    "words_of",
]
