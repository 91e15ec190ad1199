"""`voice say`: one signed webhook to a running server, and what comes back, with times."""

from __future__ import annotations

import json
import shlex
import time
import uuid
from dataclasses import dataclass
from typing import Any

import httpx
from httpx_sse import EventSource, ServerSentEvent, SSEError

from api.cli.printing import echo
from api.platforms.layercode import signed_headers, webhook_body


@dataclass(frozen=True)
class Spoken:
    """A webhook to send. `heard`: what was heard of `interrupted`, the id of an earlier turn."""

    text: str
    conversation: str
    interrupted: str | None = None
    heard: str = ""

    def body(self, turn_id: str) -> bytes:
        heard = (self.interrupted, self.heard) if self.interrupted else None
        ids = {"session_id": "voice-say", "turn_id": turn_id}
        return webhook_body("message", self.conversation, **ids, text=self.text, heard=heard)


def say(spoken: Spoken, *, url: str, secret: str, hang_up_after: int | None) -> int:
    """Send it and print the events. The exit status: 0 when the answer was complete or hung up on."""
    turn_id = f"turn_{uuid.uuid4().hex[:12]}"
    body = spoken.body(turn_id)
    began = time.monotonic()
    try:
        with httpx.stream("POST", url, content=body, headers=signed_headers(secret, body), timeout=120) as response:
            if response.status_code != 200:
                echo(f"{response.status_code}: {response.read().decode(errors='replace')[:500]}", err=True)
                return 1
            heard, ended = _read(response, began, hang_up_after)
    except SSEError:
        echo(f"{url} answers with something else than an event stream.", err=True)
        return 1
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        broken = isinstance(error, httpx.ReadError | httpx.ReadTimeout | httpx.RemoteProtocolError)
        what = "The answer broke off:" if broken else "No server answers at"
        echo(f"{what} {url} ({type(error).__name__}).{'' if broken else ' Is it running?'}", err=True)
        return 1
    if ended is None:
        echo(f"Hung up. To go on as a caller who heard just this:\n  {_go_on(spoken, turn_id, heard, url)}")
    elif not ended:
        echo("The stream broke off without response.end.", err=True)
    return 1 if ended is False else 0


def _read(response: httpx.Response, began: float, hang_up_after: int | None) -> tuple[str, bool | None]:
    """Print the events: the words among them, and whether they came to their end; None when we hung up."""
    heard, ended = "", False
    events = (_event(sent) for sent in EventSource(response).iter_sse() if sent.data)
    for count, event in enumerate(events, start=1):
        echo(f"{(time.monotonic() - began) * 1000:7.0f} ms  {_described(event)}")
        heard += str(event["content"]) if event["type"] == "response.tts" and "content" in event else ""
        ended = ended or event["type"] == "response.end"
        if count == hang_up_after and not ended:
            return heard, None
    return heard, ended


def _event(sent: ServerSentEvent) -> dict[str, Any]:
    try:
        event = sent.json()
    except ValueError:
        event = None
    return event if isinstance(event, dict) and "type" in event else {"type": "(not an event)", "content": sent.data}


def _described(event: dict[str, Any]) -> str:
    content = event.get("content", "")
    return f"{event['type']:<14} {json.dumps(content, ensure_ascii=False) if content != '' else ''}".rstrip()


def _go_on(spoken: Spoken, turn_id: str, heard: str, url: str) -> str:
    options = {"conversation": spoken.conversation, "interrupted": turn_id, "heard": heard.strip(), "url": url}
    return shlex.join(["voice", "say", "What did you say?", *(x for k, v in options.items() for x in (f"--{k}", v))])
