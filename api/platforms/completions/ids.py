"""What names a turn, where the client sends the whole conversation each time."""

from __future__ import annotations

import hashlib


def place_of(users: int) -> str:
    """Of a request with so many messages of the user's."""
    return f"p{users}."


def turn_id_of(place: str, text: str) -> str:
    """text: the user's last words."""
    return place + hashlib.sha256(text.encode()).hexdigest()[:12]
