"""A stand-in for OpenAI's chat completions, on a real socket, that the real client talks to unmodified.

It streams what its script says: a list of deltas for each answer, then a finish reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.scripted import REFUSED, Events, Json, Scripted, scripted


@dataclass(frozen=True)
class Completion:
    deltas: Sequence[Json]
    finish: str | None = "stop"
    status: int = 200


def says(*pieces: str, finish: str | None = "stop", blocks: bool = False) -> Completion:
    """Words, as texts or in lists of blocks, as some servers send them."""
    contents: list[Any] = [[{"type": "text", "text": piece}] if blocks else piece for piece in pieces]
    return Completion([{"role": "assistant", "content": ""}, *({"content": each} for each in contents)], finish)


def makes(*made: tuple[str, Json], finish: str | None = "tool_calls") -> Completion:
    """Tool calls, their arguments in pieces of three characters that take turns."""
    heads = [
        {"index": n, "id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": ""}}
        for n, (name, _) in enumerate(made)
    ]
    texts = [json.dumps(arguments) for _, arguments in made]
    tails = [
        {"index": n, "function": {"arguments": text[at : at + 3]}}
        for at in range(0, max(map(len, texts)), 3)
        for n, text in enumerate(texts)
        if text[at : at + 3]
    ]
    deltas: list[Json] = [{"role": "assistant", "content": None}, *({"tool_calls": [c]} for c in (*heads, *tails))]
    return Completion(deltas, finish)


def refuses(status: int) -> Completion:
    return Completion([], None, status)


def _events(answer: Completion) -> Events:
    return (answer.status, _stream(answer)) if answer.status == 200 else (answer.status, [REFUSED])


def _stream(answer: Completion) -> Iterator[bytes]:
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-test"}
    for delta in answer.deltas:
        yield _event({**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    if answer.finish:
        yield _event({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": answer.finish}]})
    yield b"data: [DONE]\n\n"


def _event(fields: Json) -> bytes:
    return b"data: %b\n\n" % json.dumps(fields).encode()


OpenAI = Scripted[Completion]


@contextmanager
def openai() -> Iterator[OpenAI]:
    """At the end every answer has been asked for."""
    with scripted("/v1/chat/completions", _events) as server:
        yield server
