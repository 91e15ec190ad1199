"""A server on a real socket that answers POSTs to one path with server-sent events from a script."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Generic, TypeVar

Json = dict[str, Any]
Events = tuple[int, Iterable[bytes]]  # the status, and the body in pieces
Answer = TypeVar("Answer")
REFUSED = b'{"error": {"type": "api_error", "message": "no"}}'


@dataclass
class Scripted(Generic[Answer]):
    """requests: the bodies, in order."""

    url: str = ""
    unused: deque[Answer] = field(default_factory=deque)
    requests: list[Json] = field(default_factory=list)

    def script(self, *answers: Answer) -> None:
        self.unused.extend(answers)


@contextmanager
def scripted(path: str, events: Callable[[Answer], Events]) -> Iterator[Scripted[Answer]]:
    """At the end every answer has been asked for."""
    stand_in = Scripted[Answer]()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path.partition("?")[0] == path
            stand_in.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status, body = events(stand_in.unused.popleft()) if stand_in.unused else (500, [REFUSED])
            self.send_response(status)
            self.send_header("Content-Type", "text/event-stream" if status == 200 else "application/json")
            self.end_headers()
            for piece in body:
                self.wfile.write(piece)
                self.wfile.flush()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stand_in.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert not stand_in.unused, f"answers never asked for: {list(stand_in.unused)}"
