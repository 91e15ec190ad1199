"""A stand-in for OpenAI's chat completions, on a real socket, that the real client talks to unmodified.

It streams what its script says: a list of deltas for each answer, then a finish reason.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]


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


@dataclass
class OpenAI:
    """requests: the bodies, in order."""

    url: str = ""
    unused: deque[Completion] = field(default_factory=deque)
    requests: list[Json] = field(default_factory=list)

    def script(self, *answers: Completion) -> None:
        self.unused.extend(answers)


def _events(answer: Completion) -> Iterator[bytes]:
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-test"}
    for delta in answer.deltas:
        yield _event({**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    if answer.finish:
        yield _event({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": answer.finish}]})
    yield b"data: [DONE]\n\n"


def _event(fields: Json) -> bytes:
    return b"data: %b\n\n" % json.dumps(fields).encode()


@contextmanager
def openai() -> Iterator[OpenAI]:
    """At the end every answer has been asked for."""
    stand_in = OpenAI()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/chat/completions"
            stand_in.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            answer = stand_in.unused.popleft() if stand_in.unused else refuses(500)
            self.send_response(answer.status)
            self.send_header("Content-Type", "text/event-stream" if answer.status == 200 else "application/json")
            self.end_headers()
            for event in _events(answer) if answer.status == 200 else [b'{"error": {"message": "no"}}']:
                self.wfile.write(event)
                self.wfile.flush()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stand_in.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert not stand_in.unused, f"answers never asked for: {list(stand_in.unused)}"
