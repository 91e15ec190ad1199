"""The voice platforms: each is a folder with its wire models, its authentication and its routes.

May import: settings, operations. Open first: layercode/webhook.py. A new platform is a folder beside layercode/.
"""

from __future__ import annotations

from api.platforms.body import Refused, json_object, read_json

__all__ = ["Refused", "json_object", "read_json"]
