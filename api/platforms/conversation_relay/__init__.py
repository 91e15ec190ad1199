"""Twilio's ConversationRelay, and Telnyx', which speaks the same frames: one WebSocket for each phone call.

Open first: socket.py, which carries a call. twilio.py and telnyx.py have the routes and the authentication. The routes
are not exported: they load the agent, which a client does not need.
"""

from __future__ import annotations

from api.platforms.conversation_relay.client import RelayClient

__all__ = ["RelayClient"]
