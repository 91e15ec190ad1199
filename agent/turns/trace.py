"""What a turn asked its model, and what came, in JSON: kept by the journal, read by replay.

A model call is {"at", "tools", "common", "chunks", "ended", "ms"}:
    at      ms from the turn's beginning to the call's. Not in run files
    tools   the names of the tools it was offered, in order
    common  what most of its chunks have beside their content, such as the provider's name. `block`: n says that
            a content stands for [{"type": "text", "text": content, "index": n}]
    chunks  [ms, content] or [ms, content, what differs from `common`], ms since the call began
    ended   complete | left (interrupted, or out of time) | the class of the error that ended it
    ms      when that was
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, HumanMessage, SystemMessage, ToolMessage

from agent.turns.text_chunk import Chunk, fields_of


@dataclass
class ModelCall:
    """One attempt at one answer. `began`: seconds since the turn did. `chunks`: (seconds since the call began,
    chunk). `model`: its name."""

    messages: Sequence[AnyMessage]
    tools: Sequence[str]
    chunks: list[tuple[float, Chunk]] = field(default_factory=list)
    ended: str = "left"
    seconds: float = 0.0
    began: float = 0.0
    model: str = ""

    @property
    def tokens(self) -> tuple[int, int]:
        """(input, output), as the provider counts them; 0 when it tells of none."""
        told = [chunk.usage_metadata for _, chunk in self.chunks if chunk.usage_metadata]
        return sum(used.get("input_tokens", 0) for used in told), sum(used.get("output_tokens", 0) for used in told)

    def to_json(self) -> dict[str, Any]:
        kept = [(round(at * 1000), _fields(chunk)) for at, chunk in self.chunks]
        common = _common([fields for _, fields in kept])
        return {
            "at": round(self.began * 1000),
            "tools": list(self.tools),
            "common": common,
            "chunks": [_short(ms, fields, common) for ms, fields in kept],
            "ended": self.ended,
            "ms": round(self.seconds * 1000),
        }


def chunk_from(short: Sequence[Any], common: dict[str, Any]) -> AIMessageChunk:
    """The chunk that `[ms, content]` or `[ms, content, special]` stands for."""
    fields = {**common, **(short[2] if len(short) > 2 else {})}
    block, content = fields.pop("block", None), short[1]
    if block is not None:
        content = [{"type": "text", "text": content, "index": block}]
    return AIMessageChunk(content=content, **{name: value for name, value in fields.items() if value is not None})


def compact(messages: Sequence[AnyMessage]) -> list[dict[str, Any]]:
    """Messages as people read them in a diff. The system's prompt is left out."""
    return [_compact(message) for message in messages if not isinstance(message, SystemMessage)]


def _compact(message: AnyMessage) -> dict[str, Any]:
    if isinstance(message, HumanMessage):
        return {"caller": message.text}
    if isinstance(message, ToolMessage):
        return {"tool": message.name, "result": message.text}
    made: dict[str, Any] = {"agent": message.text}
    if isinstance(message, AIMessage) and message.tool_calls:
        made["calls"] = [{"name": call["name"], "arguments": call["args"]} for call in message.tool_calls]
    return made


def _fields(chunk: Chunk) -> dict[str, Any]:
    fields = fields_of(chunk)
    block = fields["content"]
    if isinstance(block, list) and len(block) == 1 and block[0].keys() == {"type", "text", "index"}:
        fields |= {"content": block[0]["text"], "block": block[0]["index"]}
    return fields


def _common(fields: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """For each field beside the content the value that most chunks have."""
    common = {}
    for name in dict.fromkeys(name for one in fields for name in one if name != "content"):
        values = [one[name] for one in fields if name in one]
        most = _most_frequent(values)
        if 2 * values.count(most) > len(fields):
            common[name] = most
    return common


def _most_frequent(values: Sequence[Any]) -> Any:
    """The value that more than half of them are, if there is one (Boyer and Moore's vote)."""
    most, lead = None, 0
    for value in values:
        if not lead:
            most = value
        lead += 1 if value == most else -1
    return most


def _short(ms: int, fields: dict[str, Any], common: dict[str, Any]) -> list[Any]:
    """`special`: what differs from `common`; null for what is missing."""
    special = {n: v for n, v in fields.items() if n != "content" and common.get(n) != v}
    special |= {n: None for n in common if n not in fields}
    return [ms, fields.get("content", ""), special] if special else [ms, fields.get("content", "")]
