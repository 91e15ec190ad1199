"""`voice say`: one signed webhook to a running server, and what comes back, with times."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass

import httpx
import typer

from api import signature


@dataclass(frozen=True)
class Spoken:
    """A webhook to send. `heard`: what was heard of `interrupted`, the id of an earlier turn."""

    text: str
    conversation: str
    interrupted: str | None = None
    heard: str = ""

    def body(self, turn_id: str) -> bytes:
        fields = {
            "type": "message", "session_id": "voice-say", "conversation_id": self.conversation,
            "turn_id": turn_id, "text": self.text,
        }  # fmt: skip
        context = {
            "previous_turn_interrupted": True, "words_heard": len(self.heard.split()),
            "text_heard": self.heard, "assistant_turn_id": self.interrupted,
        }  # fmt: skip
        return json.dumps(fields | ({"interruption_context": context} if self.interrupted else {})).encode()


def say(spoken: Spoken, *, url: str, secret: str, hang_up_after: int | None) -> int:
    """Send it and print the events. The exit status: 0 when the answer was complete or hung up on."""
    turn_id = f"turn_{uuid.uuid4().hex[:12]}"
    body = spoken.body(turn_id)
    headers = {
        "Content-Type": "application/json",
        signature.HEADER: signature.sign(secret, body, int(time.time())),
    }
    began = time.monotonic()
    try:
        with httpx.stream("POST", url, content=body, headers=headers, timeout=120) as response:
            if response.status_code != 200:
                typer.secho(f"{response.status_code}: {response.read().decode(errors='replace')[:500]}", err=True)
                return 1
            return _read(response, began, spoken, turn_id, hang_up_after)
    except httpx.HTTPError as error:
        typer.secho(f"No answer from {url} ({type(error).__name__}). Is the server running?", err=True)
        return 1


def _read(response: httpx.Response, began: float, spoken: Spoken, turn_id: str, hang_up_after: int | None) -> int:
    heard, ended, count = "", False, 0
    for line in response.iter_lines():
        if not line.startswith("data:"):
            continue
        count += 1
        event = json.loads(line.removeprefix("data:"))
        typer.echo(f"{(time.monotonic() - began) * 1000:7.0f} ms  {_described(event)}")
        heard += event["content"] if event["type"] == "response.tts" else ""
        ended = ended or event["type"] == "response.end"
        if count == hang_up_after and not ended:
            _explain_hang_up(spoken, turn_id, heard)
            return 0
    if not ended:
        typer.secho("The stream broke off without response.end.", err=True)
    return 0 if ended else 1


def _described(event: dict[str, object]) -> str:
    content = event.get("content", "")
    return f"{event['type']:<14} {json.dumps(content, ensure_ascii=False) if content != '' else ''}".rstrip()


def _explain_hang_up(spoken: Spoken, turn_id: str, heard: str) -> None:
    quoted = json.dumps(heard.strip(), ensure_ascii=False)
    typer.echo(
        f"Hung up. To go on as a caller who heard just this:\n"
        f"  voice say 'What did you say?' --conversation {spoken.conversation}"
        f" --interrupted {turn_id} --heard {quoted}"
    )
