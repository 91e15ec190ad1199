"""The voice platforms: each is a folder with its wire models, its authentication and its routes.

May import: settings, operations. Open first: platform.py, which says what a platform must give; registry.py lists them.
A new platform is a folder beside layercode/. call.py and sockets.py are what platforms with sockets share. platform.py
and registry.py are not exported: they load the agent, which `voice say` does not need.
"""

from __future__ import annotations

from api.platforms.body import Refused, json_object, read_json

__all__ = ["Refused", "json_object", "read_json"]
