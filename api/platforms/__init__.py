"""The platforms: a folder for each, with its wire format, its authentication and its routes.

May import: agent, api.settings, operations' rate limit. Open first: platform.py, then the folder's own `__init__`.
call.py is what platforms with sockets share.
"""

from __future__ import annotations

from api.platforms.platform import Abilities, Platform, Services
from api.platforms.registry import PLATFORMS, configured_platforms, platform_routers

__all__ = ["PLATFORMS", "Abilities", "Platform", "Services", "configured_platforms", "platform_routers"]
