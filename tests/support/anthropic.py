"""A stand-in for Anthropic's Messages API, on a real socket, that the real client talks to unmodified."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.scripted import REFUSED, Events, Json, Scripted, scripted


@dataclass(frozen=True)
class Message:
    """blocks: each its beginning, and the deltas to it. stop: None closes the connection in the middle."""

    blocks: Sequence[tuple[Json, Sequence[Json]]]
    stop: str | None
    status: int = 200


def writes(*pieces: str, stop: str | None = "end_turn") -> Message:
    block = {"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces]
    return Message([block] if pieces else [], stop)


def uses(name: str, arguments: Json, *, text: str = "", stop: str | None = "tool_use") -> Message:
    """Some text, and a tool call whose arguments come in pieces of three characters."""
    whole = json.dumps(arguments)
    deltas = [{"type": "input_json_delta", "partial_json": whole[at : at + 3]} for at in range(0, len(whole), 3)]
    use = {"type": "tool_use", "id": "toolu_1", "name": name, "input": {}}, deltas
    return Message([*(writes(text).blocks if text else ()), use], stop)


def fails(status: int) -> Message:
    return Message([], None, status)


def _events(answer: Message) -> Events:
    return (200, _stream(answer)) if answer.status == 200 else (answer.status, [REFUSED])


def _stream(answer: Message) -> Iterator[bytes]:
    about = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-test", "content": []}
    counts = {"input_tokens": 1, "output_tokens": 1}
    yield _event("message_start", message={**about, "stop_reason": None, "stop_sequence": None, "usage": counts})
    for index, (begin, deltas) in enumerate(answer.blocks):
        yield _event("content_block_start", index=index, content_block=begin)
        for delta in deltas:
            yield _event("content_block_delta", index=index, delta=delta)
        yield _event("content_block_stop", index=index)
    if answer.stop:
        yield _event("message_delta", delta={"stop_reason": answer.stop, "stop_sequence": None}, usage=counts)
        yield _event("message_stop")


def _event(type_: str, **fields: object) -> bytes:
    return f"event: {type_}\ndata: {json.dumps({'type': type_, **fields})}\n\n".encode()


Anthropic = Scripted[Message]


@contextmanager
def anthropic() -> Iterator[Anthropic]:
    """At the end every answer has been asked for."""
    with scripted("/v1/messages", _events) as server:
        yield server
