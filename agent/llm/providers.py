"""Each provider is shown what it takes.

A message is kept as its provider's client made it, with that provider's blocks, signatures and thoughts. Another one
gets its text and its calls: when the fallback answers in mid-conversation, and after `MODEL` was changed.
"""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage

_BY = "model_provider"  # in a message's `response_metadata`, where LangChain's clients say who they are


def provider_of(model: BaseChatModel) -> str:
    """LangChain's name of it, as in messages; empty if it has none."""
    return str(model._get_ls_params().get("ls_provider") or "")


def shown_to(provider: str, messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """The messages, with those of other providers as text and calls."""
    return [_plain(m) if isinstance(m, AIMessage) and _is_foreign(m, provider) else m for m in messages]


def _is_foreign(message: AIMessage, provider: str) -> bool:
    return bool(message.response_metadata.get(_BY, provider) != provider)


def _plain(message: AIMessage) -> AIMessage:
    return AIMessage(message.text, tool_calls=message.tool_calls, id=message.id)
