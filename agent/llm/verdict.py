"""What a model's answer is: whole, cut off and why, or of no use; and what is done with it.

The tables name every reason for which a provider says that an answer has ended. A reason is looked up the same way
wherever the answer came from, and calls leave for the tools only with an answer that is accepted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from langchain_core.messages import AIMessageChunk

from agent.turns import Chunk, ModelCall


class Action(Enum):
    """What is done with an answer. Tool calls are run with the first only.

    ACCEPT     it is whole
    GO_ON      it was cut for its length: the model goes on where it stopped, once; else as END
    ASK_AGAIN  it is of no use: the model is asked again, and what was said is not said again
    END        what was said stands, and a sentence ends it; asked again if nothing was said
    REFUSE     as END; but if nothing was said this model is not asked again, as it would refuse again
    BREAK      the stream broke off: the apology; asked again if nothing was said
    """

    ACCEPT = "accept"
    GO_ON = "go on"
    ASK_AGAIN = "ask again"
    END = "end"
    REFUSE = "refuse"
    BREAK = "break"


GEMINI = {  # google.genai.types.FinishReason
    "STOP": Action.ACCEPT,
    "MAX_TOKENS": Action.GO_ON,
    "CONTINUATION": Action.GO_ON,
    "FINISH_REASON_UNSPECIFIED": Action.END,
    "OTHER": Action.END,
    "LANGUAGE": Action.END,
    "RECITATION": Action.END,
    "IMAGE_RECITATION": Action.END,
    "IMAGE_OTHER": Action.END,
    "SAFETY": Action.REFUSE,
    "BLOCKLIST": Action.REFUSE,
    "PROHIBITED_CONTENT": Action.REFUSE,
    "SPII": Action.REFUSE,
    "ESCALATION": Action.REFUSE,
    "MODEL_ARMOR": Action.REFUSE,
    "IMAGE_SAFETY": Action.REFUSE,
    "IMAGE_PROHIBITED_CONTENT": Action.REFUSE,
    "PUP_LIMITED_DISABLED": Action.REFUSE,
    "MALFORMED_FUNCTION_CALL": Action.ASK_AGAIN,
    "MALFORMED_RESPONSE": Action.ASK_AGAIN,
    "UNEXPECTED_TOOL_CALL": Action.ASK_AGAIN,
    "TOO_MANY_TOOL_CALLS": Action.ASK_AGAIN,
    "MISSING_THOUGHT_SIGNATURE": Action.ASK_AGAIN,
    "NO_IMAGE": Action.ASK_AGAIN,
}

BLOCKED = {  # google.genai.types.BlockedReason, of the prompt: there is no answer
    "BLOCKED_REASON_UNSPECIFIED": Action.END,
    "OTHER": Action.END,
    "SAFETY": Action.REFUSE,
    "BLOCKLIST": Action.REFUSE,
    "PROHIBITED_CONTENT": Action.REFUSE,
    "IMAGE_SAFETY": Action.REFUSE,
    "MODEL_ARMOR": Action.REFUSE,
    "JAILBREAK": Action.REFUSE,
}

OPENAI = {  # `finish_reason` of a chat completion; of a response, its `status` and `incomplete_details.reason`
    "stop": Action.ACCEPT,
    "tool_calls": Action.ACCEPT,
    "function_call": Action.ACCEPT,
    "length": Action.GO_ON,
    "content_filter": Action.REFUSE,
    "completed": Action.ACCEPT,
    "max_output_tokens": Action.GO_ON,
    "incomplete": Action.END,
    "cancelled": Action.BREAK,
    "failed": Action.BREAK,
}

ANTHROPIC = {  # `stop_reason`
    "end_turn": Action.ACCEPT,
    "tool_use": Action.ACCEPT,
    "stop_sequence": Action.ACCEPT,
    "max_tokens": Action.GO_ON,
    "pause_turn": Action.GO_ON,
    "model_context_window_exceeded": Action.END,
    "refusal": Action.REFUSE,
}

# By LangChain's name of the provider. These always say why they have ended: if they do not, the stream was cut off.
PROVIDERS = {"google_genai": GEMINI, "openai": OPENAI, "anthropic": ANTHROPIC}

_ALL = {reason.lower(): action for table in PROVIDERS.values() for reason, action in table.items()}
_FIELDS = ("finish_reason", "stop_reason", "stopReason", "done_reason")


@dataclass(frozen=True)
class Verdict:
    """reason: for the log and the memory, in the provider's words where it gave one."""

    action: Action
    reason: str = ""

    def may_go_on(self, went_on: bool) -> bool:
        """Whether the model is asked again after words that were heard. went_on: it was, for the answer's length."""
        return self.action is Action.ASK_AGAIN or (self.action is Action.GO_ON and not went_on)


def judge(call: ModelCall, answer: AIMessageChunk | None, *, spoken: bool, written_call: bool) -> Verdict:
    """The verdict on one answer. answer: what its chunks come to, if there are any. spoken: whether anything of it was
    for the ear. written_call: whether it has a tool call that stands in its text."""
    if call.ended != "complete":
        return Verdict(Action.BREAK, "the stream was left" if call.ended == "left" else call.ended)
    finish = _finish([chunk for _, chunk in call.chunks])
    if finish.action is not Action.ACCEPT:
        return finish
    if written_call:
        return Verdict(Action.ASK_AGAIN, "a tool call was written as text")
    if answer is None or not calls_are_whole(answer):
        return Verdict(Action.ASK_AGAIN, "empty" if answer is None else "a tool call is not whole")
    return finish if spoken or answer.tool_calls else Verdict(Action.ASK_AGAIN, "empty")


def calls_are_whole(answer: AIMessageChunk) -> bool:
    """LangChain reads broken JSON as far as it goes, and half a call must not be run."""
    return not answer.invalid_tool_calls and all(_is_object(chunk["args"]) for chunk in answer.tool_call_chunks)


def _finish(chunks: Sequence[Chunk]) -> Verdict:
    """By what the provider says. Should it say several things, the first that is not good counts."""
    about = [chunk.response_metadata for chunk in chunks if chunk.response_metadata]
    providers = [each["model_provider"] for each in about if "model_provider" in each]
    provider = providers[-1] if providers else ""
    verdicts = [verdict for each in about for verdict in _verdicts(each, provider)]
    bad = [verdict for verdict in verdicts if verdict.action is not Action.ACCEPT]
    if not verdicts and chunks and provider in PROVIDERS:
        return Verdict(Action.BREAK, "no finish reason")
    return (bad or verdicts or [Verdict(Action.ACCEPT)])[0]


def _verdicts(about: dict[str, Any], provider: str) -> Iterator[Verdict]:
    if blocked := (about.get("prompt_feedback") or {}).get("block_reason"):
        name = str(getattr(blocked, "name", blocked))
        yield Verdict(BLOCKED.get(name, Action.REFUSE), f"the prompt was blocked: {name}")
    if details := (about.get("incomplete_details") or {}).get("reason"):
        yield Verdict(_action(str(details), provider), str(details))
    elif status := about.get("status"):
        yield Verdict(_action(str(status), provider), str(status))
    for field in _FIELDS:
        if reason := about.get(field):
            yield Verdict(_action(str(reason), provider), str(reason))


def _action(reason: str, provider: str) -> Action:
    """Servers that speak a provider's API have reasons of their own for a good end. Gemini has none: its new ones are
    for bad ones."""
    unknown = Action.END if provider == "google_genai" else Action.ACCEPT
    return _ALL.get(reason.lower(), unknown)


def _is_object(text: str | None) -> bool:
    try:
        return isinstance(json.loads(text or "{}"), dict)
    except ValueError:
        return False
