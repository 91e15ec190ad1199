"""Session keys, the conversations that they give access to, and the open sessions (protocol sheet §6.1)."""

from __future__ import annotations

import json
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from api.playground.conversation import SESSION_SECONDS, WEBHOOKS, Conversation, SessionConfig, SessionTerms
from api.playground.session import Session

_MAX_CONVERSATIONS = 1000  # that are kept; of more, those longest unused are dropped

# What the platform sends for the browser's voice detection. The stand-in passes it on and does not use it.
_VAD = {
    "enabled": True, "gate_audio": True, "buffer_frames": 10, "model": "v5", "positive_speech_threshold": 0.15,
    "negative_speech_threshold": 0.05, "redemption_frames": 4, "min_speech_frames": 2, "pre_speech_pad_frames": 0,
    "frame_samples": 512,
}  # fmt: skip


class InvalidTerms(Exception):
    """The body of an authorization cannot be used. The text names the field."""


@dataclass
class _Grant:
    """The newest key of a conversation. expires: by the clock of `Sessions`."""

    conversation: Conversation
    key: str
    expires: float


class Sessions:
    """Issues session keys, and keeps one open session per conversation. clock: gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_conversation: dict[str, _Grant] = {}
        self._by_key: dict[str, _Grant] = {}
        self._open: dict[str, Session] = {}  # by conversation

    def authorize(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Issue a key for a new or a known conversation; an older key of the conversation becomes invalid. On another
        wire than Layercode's a conversation that is not known here gets a new id.

        Takes the body of the request, and returns the body of the platform's response. Raises InvalidTerms.
        """
        try:
            json.dumps(fields, allow_nan=False)  # 1e999 is read as infinity
            terms = SessionTerms.model_validate(fields)
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            raise InvalidTerms(f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].lower()}") from None
        except (ValueError, RecursionError):
            raise InvalidTerms("The body cannot be sent on as JSON.") from None
        id_ = terms.conversation_id or _new_id()
        if terms.wire != WEBHOOKS and not self._goes_on(id_, terms.wire):
            id_ = _new_id()
        known = self._by_conversation.pop(id_, None)
        if known:
            del self._by_key[known.key]
        conversation = known.conversation if known else Conversation(id_, terms)
        conversation.terms = terms
        grant = _Grant(conversation, f"lc_sesskey_{secrets.token_urlsafe(24)}", self._clock() + SESSION_SECONDS)
        self._by_conversation[id_] = self._by_key[grant.key] = grant
        self._drop_unused()
        return {"client_session_key": grant.key, "conversation_id": id_, "config": _config_for_client(terms.config)}

    def _goes_on(self, id_: str, wire: str) -> bool:
        """Whether it is a call on this wire that is known here. With any other the platform would count its turns from
        1 again, and get the answers of those that had these numbers."""
        known = self._by_conversation.get(id_)
        return known is not None and known.conversation.terms.wire == wire

    def find(self, key: str) -> Conversation | None:
        """The conversation of a valid key; None when the key is unknown, replaced or expired."""
        grant = self._by_key.get(key)
        return grant.conversation if grant and self._clock() < grant.expires else None

    async def run(self, session: Session) -> None:
        """Run the session to its end. An open session of the same conversation is ended first."""
        id_ = session.conversation.id
        older, self._open[id_] = self._open.get(id_), session
        try:
            if older:
                await older.replace()
            await session.run()
        finally:
            if self._open[id_] is session:
                del self._open[id_]

    def _drop_unused(self) -> None:
        unused = (grant for id_, grant in list(self._by_conversation.items()) if id_ not in self._open)
        for grant in unused:
            if len(self._by_conversation) <= _MAX_CONVERSATIONS:
                return
            del self._by_conversation[grant.conversation.id], self._by_key[grant.key]


def _new_id() -> str:
    return f"conv_{uuid.uuid4().hex}"


def _config_for_client(config: SessionConfig) -> dict[str, Any]:
    transcription = config.transcription.model_dump()
    automatic = {"automatic": config.transcription.trigger == "automatic"}
    return {"transcription": {**transcription, **automatic}, "vad": {**_VAD, **config.vad}}
