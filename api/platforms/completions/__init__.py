"""Chat completions: behind Vapi, ElevenLabs agents, LiveKit, Pipecat, Deepgram, open-webui or any client of OpenAI's.

Open first: routes.py, then request.py: how a conversation, a turn and what was heard are found in a request. The routes
are not exported: they load the agent, which a client does not need.
"""

from __future__ import annotations

from api.platforms.completions.client import CompletionsClient

__all__ = ["CompletionsClient"]
