"""The voice platforms: each is a folder with its wire models, its authentication and its routes.

May import: settings, operations. Open first: platform.py, which says what a platform must give; registry.py lists them.
A new platform is a folder beside layercode/. call.py and sockets.py are what platforms with sockets share. client.py
says how the platform's own part in a call is played: each folder has its client, clients.py opens them by name.
platform.py and registry.py are not exported: they load the agent, which `voice say` does not need.
"""

from __future__ import annotations

from api.platforms.body import Refused, json_object, read_json
from api.platforms.client import CallDetails, ClientEvent, PlatformClient, Unsupported, words_of
from api.platforms.clients import CLIENTS, open_client
from api.platforms.http_client import HttpClient
from api.platforms.network import Network, Unreachable, in_process, over_sockets
from api.platforms.socket_client import SocketClient

__all__ = [
    "CLIENTS",
    "CallDetails",
    "ClientEvent",
    "HttpClient",
    "Network",
    "PlatformClient",
    "Refused",
    "SocketClient",
    "Unreachable",
    "Unsupported",
    "in_process",
    "json_object",
    "open_client",
    "over_sockets",
    "read_json",
    "words_of",
]
