"""Chat completions: behind Vapi, ElevenLabs agents, LiveKit, Pipecat, Deepgram, open-webui or any client of OpenAI's.

Open first: routes.py, then request.py: how a conversation, a turn and what was heard are found in a request. The routes
are not exported: they load the agent, which a client does not need.
"""

from __future__ import annotations

from api.platforms.completions.client import OWN_TOOLS, CompletionsClient
from api.platforms.completions.ids import place_of, turn_id_of
from api.platforms.completions.tools import TOOLS

__all__ = [
    "OWN_TOOLS",
    "TOOLS",
    "CompletionsClient",
    "place_of",
    "turn_id_of",
]
