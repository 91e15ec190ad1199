"""ElevenLabs' Speech Engine: the browser talks to ElevenLabs, which opens one WebSocket here for each conversation.

Open first: socket.py. token.py gives pages what they need to begin. The routes are not exported: they load the agent,
which a client does not need.
"""

from __future__ import annotations

from api.platforms.speech_engine.client import SpeechEngineClient

__all__ = ["SpeechEngineClient"]
