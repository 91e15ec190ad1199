"""What a recorded model has answered."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import add_ai_message_chunks

from agent.replay import run_file as runs
from agent.turns import chunk_from


def message_in(call: runs.RecordedModelCall) -> AIMessageChunk:
    return add_ai_message_chunks(AIMessageChunk(content=""), *(chunk_from(chunk, call.common) for chunk in call.chunks))


def answer_in(call: runs.RecordedModelCall) -> tuple[str, list[tuple[str, dict[str, Any]]]]:
    """Its words, and its tool calls as (name, arguments)."""
    message = message_in(call)
    return message.text, [(one["name"], one["args"]) for one in message.tool_calls]
