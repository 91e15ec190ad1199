"""Who may talk: session keys, the conversations they belong to, and their open sockets (protocol sheet §6.1)."""

from __future__ import annotations

import json
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from api.playground.conversation import LIFE, Config, Conversation, Terms
from api.playground.session import Session

_MOST = 1000  # conversations that are known; of more, those longest unused are forgotten

# What the platform sends to the browser's voice detection; the stand-in itself reads none of it.
_VAD = {
    "enabled": True, "gate_audio": True, "buffer_frames": 10, "model": "v5", "positive_speech_threshold": 0.15,
    "negative_speech_threshold": 0.05, "redemption_frames": 4, "min_speech_frames": 2, "pre_speech_pad_frames": 0,
    "frame_samples": 512,
}  # fmt: skip


class BadTerms(Exception):
    """The body of an authorization cannot be used. The text names the field."""


@dataclass
class _Grant:
    conversation: Conversation
    key: str
    expires: float


class Sessions:
    """The newest key of each conversation, and its open session. `clock`: seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._grants: dict[str, _Grant] = {}  # by conversation
        self._keys: dict[str, _Grant] = {}
        self._open: dict[str, Session] = {}  # by conversation

    def authorize(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The platform's answer. A key that the conversation had before is void. BadTerms: 400."""
        try:
            json.dumps(fields, allow_nan=False)  # 1e999 is read as infinity
            terms = Terms.model_validate(fields)
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            raise BadTerms(f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].lower()}") from None
        except (ValueError, RecursionError):
            raise BadTerms("The body cannot be sent on as JSON.") from None
        id_ = terms.conversation_id or f"conv_{uuid.uuid4().hex}"
        known = self._grants.pop(id_, None)
        if known:
            del self._keys[known.key]
        conversation = known.conversation if known else Conversation(id_, terms)
        conversation.terms = terms
        grant = _Grant(conversation, f"lc_sesskey_{secrets.token_urlsafe(24)}", self._clock() + LIFE)
        self._grants[id_] = self._keys[grant.key] = grant
        self._forget()
        return {"client_session_key": grant.key, "conversation_id": id_, "config": _shown(terms.config)}

    def find(self, key: str) -> Conversation | None:
        """The conversation of a key that is still good."""
        grant = self._keys.get(key)
        return grant.conversation if grant and self._clock() < grant.expires else None

    async def run(self, session: Session) -> None:
        """Until it ends. An older session of the conversation is ended first."""
        id_ = session.conversation.id
        older, self._open[id_] = self._open.get(id_), session
        try:
            if older:
                await older.replace()
            await session.run()
        finally:
            if self._open[id_] is session:
                del self._open[id_]

    def _forget(self) -> None:
        idle = (grant for id_, grant in list(self._grants.items()) if id_ not in self._open)
        for grant in idle:
            if len(self._grants) <= _MOST:
                return
            del self._grants[grant.conversation.id], self._keys[grant.key]


def _shown(config: Config) -> dict[str, Any]:
    transcription = config.transcription.model_dump()
    automatic = {"automatic": config.transcription.trigger == "automatic"}
    return {"transcription": {**transcription, **automatic}, "vad": {**_VAD, **config.vad}}
