"""The TLS settings of all outgoing connections."""

from __future__ import annotations

import ssl
from functools import cache


@cache
def tls_context() -> ssl.SSLContext:
    """One for all clients: reading the certificates takes tens of milliseconds."""
    return ssl.create_default_context()
