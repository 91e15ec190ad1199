"""A chat completions request, as a turn.

conversation  named by the client: Vapi's `call.id`; `conversation_id` in the body, its `metadata`, or
              `elevenlabs_extra_body`; the header X-Conversation-Id, or open-webui's; `user`, as LiveKit sends it
place         the number of user messages: requests for one place are guesses at one turn
turn          the place and what the user says there: the same again is a duplicate
heard         the last words of the assistant before that: what the client thinks was heard of the answer before
abilities     what the client's `tools` can do to the call

A request that ends with the result of a tool is no turn: the client has done what it was told to.

A request that names no conversation is refused, or, if the operator says so, a conversation of its own: its messages
are all that was said, and there is nothing to be heard, repeated or done to the call.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from agent.json_values import strip_nul
from agent.languages import tag_of
from agent.turns import HeardReport, Speaker, TurnRequest
from api.platforms.completions.ids import place_of, turn_id_of
from api.platforms.completions.tools import TOOLS
from api.platforms.metadata import Object, within_limit

MAX_TEXT = 20_000  # characters; what is longer is cut
_MAX_ID = 200
_SPEAKERS: dict[str, Speaker] = {"user": "caller", "assistant": "agent"}
_HEADERS = ("x-conversation-id", "x-openwebui-chat-id")


class NoConversation(Exception):
    """The request does not say which conversation it belongs to."""


def _content(value: object) -> object:
    """Text, or the texts of a list of parts."""
    if isinstance(value, list):
        parts = [part.get("text") for part in value if isinstance(part, dict)]
        return " ".join(part for part in parts if isinstance(part, str))[:MAX_TEXT]
    return value[:MAX_TEXT] if isinstance(value, str) else ""


class Message(BaseModel):
    model_config = ConfigDict(extra="ignore")

    role: str
    content: Annotated[str, BeforeValidator(_content)] = Field(default="", repr=False)


def _tool_names(value: object) -> object:
    functions = [tool.get("function") for tool in value if isinstance(tool, dict)] if isinstance(value, list) else []
    names = [function.get("name") for function in functions if isinstance(function, dict)]
    return [name for name in names if isinstance(name, str) and name in TOOLS]


class Completion(BaseModel):
    """The body, as far as it is used. tools: the names of those that do something to the call."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    model: str = ""
    messages: list[Message] = Field(max_length=10_000, repr=False)
    stream: bool = False
    tools: Annotated[list[str], BeforeValidator(_tool_names)] = []
    user: str | None = Field(default=None, repr=False)
    conversation_id: str | None = None
    metadata: Object = Field(default={}, repr=False)
    call: Object = Field(default={}, repr=False)
    customer: Object = Field(default={}, repr=False)
    elevenlabs_extra_body: Object = Field(default={}, repr=False)


@dataclass(frozen=True)
class Asked:
    """A request as a turn, and what the client can be told to do. tools: (client's tool, argument) by action.
    after_tool: the user's last words were answered, and the client has run a tool of its own for that."""

    request: TurnRequest
    tools: Mapping[str, tuple[str, str | None]]
    after_tool: bool


def asked(body: Completion, headers: Mapping[str, str], *, appends: bool = False, stateless: bool = False) -> Asked:
    """appends: its system message goes behind the prompt. stateless: a request that names no conversation is taken for
    all of one. NoConversation when it names none otherwise."""
    conversation = _conversation(body, headers)
    if conversation is None and not stateless:
        raise NoConversation
    instructions = [message.content.strip() for message in body.messages if message.role in ("system", "developer")]
    said = [message.content.strip() for message in body.messages if message.role == "user"]
    text = strip_nul(said[-1]) if said else ""
    place = place_of(len(said))
    tools: dict[str, tuple[str, str | None]] = {TOOLS[name][0]: (name, TOOLS[name][1]) for name in body.tools}
    after_tool = bool(body.messages) and body.messages[-1].role == "tool"
    request = TurnRequest(
        conversation_id=conversation or f"alone-{uuid.uuid4().hex}",
        turn_id=turn_id_of(place, text),
        kind="message" if said else "welcome",
        text=text,
        heard=_heard(body),
        answered=said[-2] if len(said) > 1 else None,
        caller=_number(body),
        metadata=within_limit(body.metadata),
        language=tag_of(body.metadata.get("language")),
        abilities=frozenset(tools),
        place=place,
        platform="chat completions",
        resume=True,
        instructions=strip_nul("\n\n".join(filter(None, instructions))[:MAX_TEXT]) if appends else "",
    )
    if conversation is None:
        alone = replace(request, before=_before(body), heard=None, place="", abilities=frozenset())
        return Asked(alone, {}, after_tool)
    return Asked(request, tools, after_tool)


def _conversation(body: Completion, headers: Mapping[str, str]) -> str | None:
    named = [
        body.call.get("id"),
        body.conversation_id,
        body.metadata.get("conversation_id"),
        body.elevenlabs_extra_body.get("conversation_id"),
        *(headers.get(name) for name in _HEADERS),
        body.user,
    ]
    for name in named:
        if isinstance(name, str) and 0 < len(name) <= _MAX_ID:
            return strip_nul(name)
    return None


def _before(body: Completion) -> list[tuple[Speaker, str]]:
    """What was said before the user's last message."""
    before = body.messages[: _last_of_user(body)]
    return [(_SPEAKERS[m.role], strip_nul(m.content)) for m in before if m.role in _SPEAKERS]


def _last_of_user(body: Completion) -> int:
    return max((i for i, message in enumerate(body.messages) if message.role == "user"), default=0)


def _heard(body: Completion) -> HeardReport | None:
    """The assistant's last words between the user's last two messages. Those that call a tool may have none."""
    before = [m for m in body.messages[: _last_of_user(body)] if m.role in _SPEAKERS]
    while before and before[-1].role == "assistant":
        if said := before.pop().content.strip():
            return HeardReport(said, kind="derived")
    return None


def _number(body: Completion) -> str | None:
    customer = body.customer or body.call.get("customer")
    number = customer.get("number") if isinstance(customer, dict) else None
    return number if isinstance(number, str) and len(number) <= _MAX_ID else None
