"""Layercode: signed webhooks in, server-sent events out.

May import: settings, operations, the modules that platforms share. Open first: webhook.py, then events.py. The routes
are not exported: they load the agent, which `voice say` does not need.
"""

from __future__ import annotations

from api.platforms.layercode import signature
from api.platforms.layercode.client import (
    LayercodeClient,
    compact_json,
    interruption_context,
    signed_headers,
    webhook_body,
)

__all__ = [
    "LayercodeClient",
    "compact_json",
    "interruption_context",
    "signature",
    "signed_headers",
    "webhook_body",
]
