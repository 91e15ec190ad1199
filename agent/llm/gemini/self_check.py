"""Whether the fast path for Gemini does what the libraries do, in the versions that are installed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolCall, ToolMessage

from agent.llm.gemini import stream as gemini_stream
from agent.llm.gemini.library import SIGNATURES, message_of
from agent.turns import as_message

if TYPE_CHECKING:
    from agent.llm.gemini.chat_model import Gemini

# A little of everything that has a shortcut, and the unusual between.

_CALL = ToolCall(name="clock", args={"place": "Rome"}, id="c1", type="tool_call")
_CHECKED_HISTORY: list[BaseMessage] = [
    SystemMessage("Be brief."),
    HumanMessage("Hallo \u2013 wie spät ist es?"),
    AIMessage("", tool_calls=[_CALL], additional_kwargs={SIGNATURES: {"c1": "c2lnbmVk"}}),
    ToolMessage("12:00", tool_call_id="c1", name="clock"),
    AIMessage([{"type": "text", "text": "Zwölf.", "index": 0}], response_metadata={"model_provider": "google_genai"}),
    HumanMessage("Thanks"),
    AIMessage("You are welcome."),
    HumanMessage("Bye"),
]


def _event(part: dict[str, Any], said: int, **more: str) -> bytes:
    candidate = {"content": {"parts": [part], "role": "model"}, "index": 0, **more}
    counts = {"promptTokenCount": 9, "candidatesTokenCount": said, "totalTokenCount": 9 + said}
    tail = {"usageMetadata": counts, "modelVersion": "gemini-3.5-flash-lite", "responseId": "r"}
    return json.dumps({"candidates": [candidate], **tail}).encode()


_CHECKED_EVENTS = [
    _event({"text": "It is"}, 2),
    _event({"text": " twelve"}, 3),
    _event({"text": " o'clock."}, 5),
    _event({"functionCall": {"id": "c2", "name": "clock", "args": {}}, "thoughtSignature": "c2lnbmVk"}, 9),
    _event({"text": " Bye"}, 10),
    _event({"text": " now"}, 11),
    _event({"text": "!"}, 12, finishReason="STOP"),
]
_CHECKED_STREAM = b"".join(b"data: %b\r\n\r\n" % event for event in _CHECKED_EVENTS)


async def shortcuts_are_right(model: Gemini) -> bool:
    """Make one request and read one stream in both ways, without the network, and compare: the same bytes, the same
    messages."""
    quick, slow = await model.fast_request(_CHECKED_HISTORY, None), await model.library_request(_CHECKED_HISTORY)
    with model.transport.answering(_CHECKED_STREAM):
        wanted = [message_of(chunk) async for chunk in model._astream([HumanMessage(".")])]
    templates: gemini_stream.ChunkTemplates = {}
    for _ in range(2):  # the second time it knows all kinds of text
        reader = gemini_stream.Reader(templates)
        made = [as_message(piece) for piece in reader.read(_CHECKED_STREAM.splitlines())[0]]
    return quick is not None and (quick.content, quick.url, made) == (slow.content, slow.url, wanted)
