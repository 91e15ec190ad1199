"""Layercode's answers: a turn's events as server-sent events (protocol sheet §4)."""

from __future__ import annotations

import json
from typing import Any

from agent.json_values import replace_surrogates, to_json

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def tts(content: str, turn_id: str | None) -> bytes:
    """Text to speak."""
    return _event("response.tts", f',"content":{_encode(content)}', turn_id)


def data(content: Any, turn_id: str | None) -> bytes:
    """JSON for the browser. What JSON has no form for becomes null (NaN, a cycle) or its `str()`."""
    return _event("response.data", f',"content":{_encode(to_json(content))}', turn_id)


def end(turn_id: str | None) -> bytes:
    """The turn is over: once, last, always (§4.1)."""
    return _event("response.end", "", turn_id)


def _event(kind: str, content: str, turn_id: str | None) -> bytes:
    """Framed as the Node SDK does it (§4.2): it leaves out a `turn_id` that the request did not have."""
    turn = f',"turn_id":{_encode(turn_id)}' if turn_id else ""
    return replace_surrogates(f'data: {{"type":"{kind}"{content}{turn}}}\n\n').encode()
