"""The platform's side: webhooks as Layercode sends them (protocol sheet §1 to §3).

For all that stands in for Layercode: `voice say`, the tunnel's probe, the playground, replay and the tests.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from api.platforms.layercode import signature


def webhook_body(
    kind: str, conversation_id: str, *, heard: tuple[str | None, str] | None = None, **fields: Any
) -> bytes:
    """A webhook. kind: its `type`. heard: (turn_id, text) of the interrupted turn, None for the one before this."""
    context = {"interruption_context": interruption_context(*heard)} if heard else {}
    body = {"type": kind, "conversation_id": conversation_id, **fields, **context}
    return compact_json(body).encode(errors="replace")


def interruption_context(turn_id: str | None, text: str, words: int | None = None) -> dict[str, Any]:
    """What the caller heard of an interrupted turn (§2.3)."""
    return {
        "previous_turn_interrupted": True,
        "words_heard": len(text.split()) if words is None else words,
        "text_heard": text,
        "assistant_turn_id": turn_id,
    }


def compact_json(body: Mapping[str, Any]) -> str:
    """For raw UTF-8: that also verifies in backends that parse and serialise a body again (§3)."""
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def signed_headers(secret: str, body: bytes, at: float | None = None) -> dict[str, str]:
    """The headers of a webhook, signed at that time (Unix seconds), or now."""
    value = signature.sign(secret, body, int(time.time() if at is None else at))
    return {"Content-Type": "application/json", signature.HEADER: value}
