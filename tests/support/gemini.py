"""A stand-in for Gemini's REST API, on a real socket, that the real client talks to unmodified.

    with Gemini() as gemini:
        gemini.script(calls(("weather", {"city": "Paris"})), text("It is sunny."))
        model = ChatGoogleGenerativeAI(model="…", google_api_key="x", base_url=gemini.url, max_retries=1)
        ...
        gemini.verify()

Where it is stricter than the real API, on purpose: two contents of one role in a row are refused, a call must
come back with the very signature it left with, and the placeholder the client puts in for a lost signature is
refused.

Where it is simpler: it serves `alt=sse` and the plain `:generateContent` only, one part counts as one token,
and no fields but `contents` and the names of the tools are looked at. The rules are in gemini_rules.py.
"""

import asyncio
import base64
import json
import logging
import re
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import TracebackType
from typing import Any, Self, TypeVar

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.support.gemini_rules import PLACEHOLDER, check, plain

Json = dict[str, Any]
Send = Callable[[Json], Awaitable[None]]
Receive = Callable[[], Awaitable[Json]]

_STATUS = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
    403: ("PERMISSION_DENIED", "The caller does not have permission."),
    404: ("NOT_FOUND", "Requested entity was not found."),
    429: ("RESOURCE_EXHAUSTED", "You exceeded your current quota."),
    500: ("INTERNAL", "An internal error has occurred."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    504: ("DEADLINE_EXCEEDED", "The request timed out."),
}
_SSE = [(b"content-type", b"text/event-stream")]
_ROUTE = re.compile(r"/v1(?:beta)?/models/([^/:]+):(streamGenerateContent|generateContent)")


# The steps of a script


@dataclass(frozen=True)
class Part:
    """One part of an answer as JSON; `signed` asks for a signature when it is sent."""

    body: bytes
    call: str | None = None  # the function's name, if it is a call
    signed: bool = False
    thought: bool = False


@dataclass(frozen=True)
class Chunk:
    parts: tuple[Part, ...]
    delay: float = 0.0  # seconds before it is sent
    before: bytes = b""  # what stands in the stream before its event, such as a comment


@dataclass(frozen=True)
class Answer:
    chunks: tuple[Chunk, ...]
    finish: str = "STOP"
    stall: float = 0.0
    cut_after: int | None = None


@dataclass(frozen=True)
class Failure:
    status: int
    message: str
    retry_after: float | None = None
    stall: float = 0.0


@dataclass(frozen=True)
class Raw:
    """A response's body as it stands, in pieces."""

    pieces: tuple[bytes, ...]
    delay: float = 0.0  # seconds between two of them
    stall: float = 0.0


Step = Answer | Failure | Raw
AnyStep = TypeVar("AnyStep", Answer, Failure, Raw)


def text(
    words: str,
    *,
    tokens: int | None = None,
    delay: float = 0.0,
    signature: bool = False,
    finish: str = "STOP",
) -> Answer:
    """Says `words`: a chunk per word, or `tokens` chunks of equal length, `delay` seconds apart.

    A signature comes as the real one does: on an empty text part of its own at the end.
    """
    parts = [_part({"text": piece}) for piece in _pieces(words, tokens)]
    if signature:
        parts.append(_part({"text": ""}, signed=True))
    return Answer(_spaced([(part,) for part in parts], delay), finish)


def calls(
    *made: tuple[str, Json],
    text: str = "",
    signature: bool = True,
    delay: float = 0.0,
    apart: bool = False,
) -> Answer:
    """Says `text`, then calls these functions at once: in one chunk, or `apart` in one chunk each.

    Of parallel calls only the first is signed.
    """
    spoken = [(_part({"text": piece}),) for piece in _pieces(text, None)]
    called = tuple(
        _part({"functionCall": {"name": name, "args": args}}, call=name, signed=signature and at == 0)
        for at, (name, args) in enumerate(made)
    )
    return Answer(_spaced([*spoken, *([(part,) for part in called] if apart else [called])], delay))


def thought(words: str, then: Answer, *, delay: float = 0.0) -> Answer:
    """Thinks aloud in one chunk, and `delay` seconds later goes on."""
    chunk = Chunk((_part({"text": words, "thought": True}, thought=True),))
    first, *rest = then.chunks
    return replace(then, chunks=(chunk, replace(first, delay=first.delay + delay), *rest))


def error(status: int, message: str | None = None, *, retry_after: float | None = None) -> Failure:
    """Refuses with Google's error JSON; `retry_after`, in seconds, is a RetryInfo in it, not a header."""
    return Failure(status, message or _STATUS[status][1], retry_after)


def stall(seconds: float, then: AnyStep) -> AnyStep:
    """Sends nothing for so long, not even the response's headers."""
    return replace(then, stall=then.stall + seconds)


def raw(*pieces: bytes | Json, delay: float = 0.0) -> Raw:
    """Sends these bytes, and events with this JSON."""
    return Raw(
        tuple(p if isinstance(p, bytes) else b"data: %b\r\n\r\n" % json.dumps(p).encode() for p in pieces), delay
    )


def blocked(reason: str) -> Raw:
    """Says that it will not read the prompt."""
    return raw({"promptFeedback": {"blockReason": reason}, "modelVersion": "gemini"})


def cut(step: Answer, after: int = 1) -> Answer:
    """Closes the connection after so many chunks, without the end that HTTP asks for."""
    return replace(step, cut_after=after)


def _part(body: Json, call: str | None = None, signed: bool = False, thought: bool = False) -> Part:
    return Part(json.dumps(body).encode(), call, signed, thought)


def _pieces(words: str, count: int | None) -> list[str]:
    if count is None:
        return re.findall(r"\s*\S+\s*$|\s*\S+\s|\s+", words)
    edges = [len(words) * at // count for at in range(count + 1)]
    return [words[start:end] for start, end in pairwise(edges) if end > start]


def _spaced(groups: list[tuple[Part, ...]], delay: float) -> tuple[Chunk, ...]:
    """An answer without a single part is still one chunk: Gemini does send those."""
    return tuple(Chunk(parts, delay if at else 0.0) for at, parts in enumerate(groups or [()]))


# What a request says


@dataclass
class Request:
    """A request and what became of it. Times are `time.monotonic()`."""

    path: str
    model: str
    headers: dict[str, str]
    body: Json
    started: float = field(default_factory=time.monotonic)
    step: Step | None = None
    tokens: list[float] = field(default_factory=list)  # when each chunk was sent
    finished: bool = False  # answered to the end, be it with an error
    closed_early: bool = False  # the client hung up first
    closed_at: float | None = None
    over: bool = False  # nothing more will happen to it


def said(body: Json) -> str:
    """What the user said last; empty if the last content holds function responses."""
    return "".join(part.get("text", "") for part in body["contents"][-1]["parts"])


def responses(body: Json) -> list[Json]:
    """The function responses in the last content, empty if the user spoke."""
    return [part["functionResponse"] for part in body["contents"][-1]["parts"] if "functionResponse" in part]


# The server


class Gemini:
    """The server, in a thread of its own from `with` to the end of it.

    A request that `check` refuses goes to `violations` and is answered 400, and no step is spent on it.
    Otherwise the script is played first; when it is used up, `answer` is asked; without one, the request goes
    to `unexpected` and is answered 500. `answer` runs in the server's thread and must not block.
    """

    def __init__(self) -> None:
        self.answer: Callable[[Json], Step] | None = None
        self.requests: list[Request] = []
        self.violations: list[str] = []
        self.unexpected: list[str] = []
        self.unused: deque[Step] = deque()
        self.issued: dict[str, str | None] = {}
        self.url = ""
        self.warmed = 0  # how often a connection was opened before it was needed
        self._answering: set[asyncio.Future[None]] = set()
        config = uvicorn.Config(
            self,
            http=_Protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            date_header=False,
            timeout_keep_alive=60,  # as the real one, which does for minutes
        )
        self._server = _Server(config)
        self._socket = socket.socket()
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    def __enter__(self) -> Self:
        self._socket.bind(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:{1}".format(*self._socket.getsockname())
        self._thread.start()
        assert self._server.ready.wait(5), "the stand-in did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.loop.call_soon_threadsafe(self._stop)
        self._thread.join(2)
        assert not self._thread.is_alive(), "the stand-in did not stop"

    def _stop(self) -> None:
        for answering in self._answering:
            answering.cancel()
        self._server.stopping.set()

    def script(self, *steps: Step) -> None:
        self.unused.extend(steps)

    def allow_unsigned(self, name: str) -> None:
        """Another provider's model will call this function: the placeholder is right there."""
        self.issued[str(plain(PLACEHOLDER))] = name

    def check(self, body: Json) -> None:
        check(body, self.issued)

    def verify(self) -> None:
        """Raises AssertionError if a history was refused, a request not foreseen, or a step not used."""
        assert not self.violations, self.violations
        assert not self.unexpected, self.unexpected
        assert not self.unused, f"steps never used: {list(self.unused)}"

    async def settled(self, timeout: float = 2.0) -> None:
        """Waits until every request received so far is over: finished, cut or hung up."""
        async with asyncio.timeout(timeout):
            while not all(request.over for request in self.requests):
                await asyncio.sleep(0.002)

    async def __call__(self, scope: Json, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":  # somebody opens a connection in good time
            self.warmed += 1
            await _reply(send, 404, b"")
            return
        request = await _read(scope, receive)
        if request is None:
            return
        self.requests.append(request)
        answering = asyncio.ensure_future(self._respond(request, scope["query_string"], send))
        hung_up = asyncio.ensure_future(receive())
        self._answering.add(answering)
        await asyncio.wait({answering, hung_up}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            request.closed_at = time.monotonic()
            request.closed_early = True
        answering.cancel()
        hung_up.cancel()
        await asyncio.wait({answering, hung_up})
        self._answering.discard(answering)
        if not answering.cancelled() and (failed := answering.exception()):
            # uvicorn answers 500, or closes the connection if the answer has begun.
            self.unexpected.append(f"answer() or the stand-in itself raised {failed!r}")
        request.over = True

    async def _respond(self, request: Request, query: bytes, send: Send) -> None:
        step = request.step = self._step(request, query)
        await asyncio.sleep(step.stall)
        if isinstance(step, Failure):
            await _reply(send, step.status, _error_body(step))
            request.finished = True
        elif isinstance(step, Raw):
            await self._raw(request, step, send)
        elif request.path.endswith(":streamGenerateContent"):
            await self._stream(request, step, send)
        else:
            await self._whole(request, step, send)

    def _step(self, request: Request, query: bytes) -> Step:
        route = _ROUTE.fullmatch(request.path)
        if not route or (route[2] == "streamGenerateContent" and query != b"alt=sse"):
            self.unexpected.append(f"no such route: {request.path}?{query.decode()}")
            return error(404)
        try:
            self.check(request.body)
        except AssertionError as refused:
            self.violations.append(str(refused))
            return error(400, str(refused))
        if self.unused:
            return self.unused.popleft()
        if self.answer is None:
            self.unexpected.append(f"request {len(self.requests)} came after the script's last step")
            return error(500, self.unexpected[-1])
        return self.answer(request.body)

    async def _stream(self, request: Request, step: Answer, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _SSE})
        tail = _Tail(request)
        last = len(step.chunks) - 1
        for at, chunk in enumerate(step.chunks):
            if step.cut_after == at:
                return
            await asyncio.sleep(chunk.delay)
            event = self._event(chunk.parts, step.finish if at == last else None, tail)
            request.tokens.append(time.monotonic())
            body = b"%bdata: %b\r\n\r\n" % (chunk.before, event)
            await send({"type": "http.response.body", "body": body, "more_body": True})
        if step.cut_after is None:
            await send({"type": "http.response.body"})
            request.finished = True

    async def _raw(self, request: Request, step: Raw, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _SSE})
        for piece in step.pieces:
            request.tokens.append(time.monotonic())
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(step.delay)
        await send({"type": "http.response.body"})
        request.finished = True

    async def _whole(self, request: Request, step: Answer, send: Send) -> None:
        await asyncio.sleep(sum(chunk.delay for chunk in step.chunks))
        if step.cut_after is not None:
            # Promise a body and break the promise: a close before the headers would be answered by uvicorn.
            await send({"type": "http.response.start", "status": 200, "headers": []})
            return
        parts = tuple(part for chunk in step.chunks for part in chunk.parts)
        request.tokens.append(time.monotonic())
        await _reply(send, 200, self._event(parts, step.finish, _Tail(request)))
        request.finished = True

    def _event(self, parts: tuple[Part, ...], finish: str | None, tail: "_Tail") -> bytes:
        encoded = b",".join(self._signed(part) for part in parts)
        content = b'"parts":[%b],"role":"model"' % encoded if parts else b'"role":"model"'
        reason = b',"finishReason":"%b"' % finish.encode() if finish else b""
        return b'{"candidates":[{"content":{%b}%b,"index":0}],%b}' % (content, reason, tail.after(parts))

    def _signed(self, part: Part) -> bytes:
        if not part.signed:
            return part.body
        signature = base64.b64encode(secrets.token_bytes(48)).decode()
        self.issued[signature] = part.call
        return b'%b,"thoughtSignature":"%b"}' % (part.body[:-1], signature.encode())


class _Tail:
    """The fields after the candidates: the usage so far, the model's version and the response's id."""

    def __init__(self, request: Request) -> None:
        self.prompt = 1 + len(str(request.body.get("contents"))) // 4
        self.spoken = self.thought = 0
        names = {"modelVersion": request.model, "responseId": secrets.token_urlsafe(16)}
        self.names = json.dumps(names).encode()[1:-1]

    def after(self, parts: tuple[Part, ...]) -> bytes:
        thoughts = sum(part.thought for part in parts)
        self.thought += thoughts
        self.spoken += len(parts) - thoughts
        counts = (
            self.prompt,
            self.spoken,
            self.thought,
            self.prompt + self.spoken + self.thought,
            self.names,
        )
        return (
            b'"usageMetadata":{"promptTokenCount":%d,"candidatesTokenCount":%d,"thoughtsTokenCount":%d,'
            b'"totalTokenCount":%d},%b' % counts
        )


async def _read(scope: Json, receive: Receive) -> Request | None:
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message["body"]
        more = message["more_body"]
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    route = _ROUTE.fullmatch(scope["path"])
    return Request(scope["path"], route[1] if route else "", headers, json.loads(body or b"{}"))


async def _reply(send: Send, status: int, body: bytes) -> None:
    headers = [
        (b"content-type", b"application/json; charset=UTF-8"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _error_body(failure: Failure) -> bytes:
    error: Json = {"code": failure.status, "message": failure.message, "status": _STATUS[failure.status][0]}
    if failure.retry_after is not None:
        info = {
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": f"{failure.retry_after:g}s",
        }
        error["details"] = [info]
    return json.dumps({"error": error}, indent=2).encode()


class _Server(uvicorn.Server):
    """Stops at once, where uvicorn looks ten times a second and then waits for the connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self.loop: asyncio.AbstractEventLoop
        self.stopping: asyncio.Event

    async def main_loop(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.stopping = asyncio.Event()
        await self.on_tick(0)
        self.ready.set()
        await self.stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listening in sockets or []:
            listening.close()
        for connection in list(self.server_state.connections):
            if connection.transport:
                connection.transport.abort()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=0.5)


class _Protocol(HttpToolsProtocol):
    """Says nothing about a response that ends without its end: that is how `cut` is done."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.logger = _silent
        super().connection_made(transport)


_silent = logging.Logger("gemini")
_silent.disabled = True
