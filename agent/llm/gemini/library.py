"""The private names that the fast path takes from langchain-google-genai and google-genai.

They stand here alone, so that a new version of a library breaks this file and no other. Whether they still do what the
fast path expects is checked before the first answer (self_check.py); if not, the libraries do all of it themselves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from google.genai import models as google
from google.genai.types import GenerateContentResponse
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_google_genai import chat_models as library

from agent.llm.gemini.declaration import declared_tools

# Where a message keeps the signatures of its function calls.
SIGNATURES = "__gemini_function_call_thought_signatures__"


def block_indexer() -> Any:
    """Gives the blocks of one answer their numbers: `assign(message)` writes them into the message."""
    return library._StreamBlockIndexer()


def convert_event(fields: dict[str, Any], counted: UsageMetadata | None) -> AIMessageChunk:
    """The message of one event of the stream. fields: the event's JSON. counted: the usage reported before it."""
    response = GenerateContentResponse._from_response(
        response=google._GenerateContentResponse_from_mldev(fields), kwargs={}
    )
    result = library._response_to_result(response, stream=True, prev_usage=counted)
    return message_of(result.generations[0])


def message_of(generation: ChatGeneration) -> AIMessageChunk:
    """A chunk as LangChain's `astream` gives it out, but for its id."""
    message = generation.message
    assert isinstance(message, AIMessageChunk)  # noqa: S101 - for the type
    message.response_metadata = {**(generation.generation_info or {}), **message.response_metadata}
    return message


class GeminiClient(ChatGoogleGenerativeAI):
    """The library's client, which declares tools as declaration.py says, and to which a tool's result is the text that
    it is. By itself it reads every text as JSON: "5E3" is sent as 5000.0 and "NaN" makes a request that is no JSON.
    Objects and lists are sent as such."""

    def bind_tools(self, tools: Sequence[Any], *args: Any, **kwargs: Any) -> Runnable[Any, AIMessage]:
        ours = [tool for tool in tools if isinstance(tool, BaseTool)]
        if ours != list(tools):
            return super().bind_tools(tools, *args, **kwargs)
        return self.bind(tools=declared_tools(ours), **kwargs)

    def _prepare_request(self, messages: list[BaseMessage], **kwargs: Any) -> dict[str, Any]:
        return super()._prepare_request([_result_kept(message) for message in messages], **kwargs)


def _result_kept(message: BaseMessage) -> BaseMessage:
    text = message.content
    if not isinstance(message, ToolMessage) or not isinstance(text, str) or _is_structure(text):
        return message
    return message.model_copy(update={"content": json.dumps({"output": text})})


def _is_structure(text: str) -> bool:
    """Whether it is an object or a list in JSON, of numbers that JSON has."""
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(text, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError):
        return False
    return True


def _finite(number: str) -> float:
    if not math.isfinite(made := float(number)):
        raise ValueError
    return made
