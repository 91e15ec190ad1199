"""The language model, asked for one answer within time limits.

What is done with each way in which an answer may end, verdict.py says; who is asked, in which order and for how long,
attempts.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool

from agent.failures import log_failure
from agent.languages import Texts, own_line
from agent.llm.attempts import INVALID, NO_QUOTA, ModelCandidate, RetryPlan, is_down, status_of
from agent.llm.breaker import Breaker
from agent.llm.continuation import counted_on, with_what_was_said
from agent.llm.providers import provider_of, shown_to
from agent.llm.streamed import Ask, StreamedAnswer
from agent.llm.verdict import Action, Verdict
from agent.turns import ModelCall, Turn, apology_message

if TYPE_CHECKING:
    from agent.llm.gemini.transport import Transport

log = logging.getLogger(__name__)

_RETRY_AFTER = 0.2  # seconds
_NO_CALLS: dict[str, Any] = {"anthropic-chat": {"type": "none"}}  # where `none` would be a tool's name

Admit = Callable[[AIMessage], AIMessage | None]
Retell = Callable[[], Sequence[AnyMessage]]


@dataclass
class Models:
    """The model and its fallback.

    first_token: seconds until an answer must have begun, over all attempts; later, how long it may pause.
    apology: said when no answer can be had. ending: said after an answer that cannot go on.
    thinking: said once in a turn when the model thinks for long; may be empty.
    These three are said in the conversation's language.
    summarises: whether the model can be asked to summarise a long conversation.
    """

    primary: BaseChatModel
    fallback: BaseChatModel | None = None
    first_token: float = 5.0
    apology: Texts = "Sorry, something went wrong on my side. Please say that again."
    ending: Texts = "I have to stop there."
    thinking: Texts = "One moment."
    summarises: bool = False
    candidates: list[ModelCandidate] = field(init=False)
    _bound: dict[tuple[int, ...], tuple[Sequence[BaseTool], Runnable[Any, Any]]] = field(default_factory=dict)
    _warming: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        models = [self.primary, self.fallback] if self.fallback else [self.primary]
        self.candidates = [ModelCandidate(model, _name(model), Breaker(), provider_of(model)) for model in models]

    async def answer(
        self,
        turn: Turn,
        messages: Sequence[AnyMessage],
        tools: Sequence[BaseTool],
        id_: str,
        *,
        may_call: bool = True,
        admit: Admit = lambda answer: answer,
        retell: Retell | None = None,
        instead: str = "",
    ) -> list[AIMessage]:
        """One answer, spoken while it streams; it ends in tool calls, or words.

        It is one message, or more: what the caller had heard of an attempt that was not whole is a message of its own,
        as one with tool calls is never rebuilt. None at all when the turn was interrupted before a word was sent. When
        no attempt brings a whole answer, the last message ends in words of ours and is marked as cut.

        id_: of the first message; those of the others count on.
        may_call: whether it may carry calls; the tools are declared in any case. admit: the answer as it may be stored,
        None when it may not be. retell: the messages once more, simpler, for a model that has refused them. instead:
        said in place of the apology.
        """
        attempts, names = RetryPlan(self.candidates, self.first_token, turn.now), [tool.name for tool in tools]
        verdict, said, went_on = Verdict(Action.BREAK, "no model was asked"), list[AIMessage](), False
        for candidate, patience in attempts:
            shown = shown_to(candidate.provider, with_what_was_said(messages, said))
            call = ModelCall(shown, names, model=candidate.name)
            answer = StreamedAnswer(turn, counted_on(id_, said), call, said, own_line(self.thinking, turn.speaks))
            await answer.read(self._asked(candidate.model, tools, may_call), patience, self.first_token)
            if turn.interrupted:
                return answer.cut()
            verdict = answer.verdict
            message = admit(answer.message()) if verdict.action is Action.ACCEPT else None
            if verdict.action is Action.ACCEPT and message is None:
                verdict = Verdict(Action.ASK_AGAIN, "its calls cannot be stored")
            self._tell(attempts, candidate, answer, turn, verdict)
            if message is not None:
                return [message] if message.tool_calls and answer.repeats else [*said, message]
            said += answer.spoken_words()
            if retell and status_of(answer.error) == INVALID:
                messages, retell = retell(), None
            if turn.now() >= turn.deadline or (said and not verdict.may_go_on(went_on)):
                break
            went_on |= verdict.action is Action.GO_ON
            if said:
                attempts.restart()
            if attempts.left and not answer.silent:
                await turn.sleep(_RETRY_AFTER)
        return self._end(turn, id_, said, verdict, instead)

    def _tell(
        self, attempts: RetryPlan, candidate: ModelCandidate, answer: StreamedAnswer, turn: Turn, verdict: Verdict
    ) -> None:
        """The log, the candidate's circuit and the plan learn how an attempt ended."""
        status = status_of(answer.error)
        if answer.error:
            log_failure(log, f"the model failed (HTTP status {status})", answer.error)
        if verdict.action is not Action.ACCEPT:
            log.warning("the model %s gave no whole answer: %s", candidate.name, verdict.reason)
        down = None if answer.silent and turn.now() >= turn.deadline else answer.silent or is_down(answer.error)
        refuses = verdict.action is Action.REFUSE
        attempts.tried(candidate, down=down, spent=answer.silent or status == NO_QUOTA, refuses=refuses)

    def _end(self, turn: Turn, id_: str, said: Sequence[AIMessage], verdict: Verdict, instead: str) -> list[AIMessage]:
        """The answer so far, and words of the system's at its end."""
        goes_well = said and verdict.action in (Action.GO_ON, Action.END, Action.REFUSE)
        turn.failed |= bool(instead) or not goes_well
        words = instead or own_line(self.ending if goes_well else self.apology, turn.speaks)
        last = counted_on(id_, said[:-1])
        own = turn.said(last)
        turn.say(f" {words}" if own else words, of=last)
        return [*said[:-1], apology_message(turn.said(last), last, own=len(own), reason=verdict.reason)]

    async def rehearse(self, tools: Sequence[BaseTool]) -> None:
        """Use Gemini's client once, without the network: its first use imports and compiles for a third of a
        second, which would be silence in somebody's call."""
        for model in filter(None, (self.primary, self.fallback)):
            if transport := _transport(model):
                with transport.answering():
                    async for _ in self._with_tools(model, tools).astream([SystemMessage("."), HumanMessage("Hello?")]):
                        pass

    def warm(self) -> None:
        """Begin to open a connection to the model, before the first words are needed."""
        if (transport := _transport(self.primary)) and (self._warming is None or self._warming.done()):
            self._warming = asyncio.create_task(transport.warm())

    async def close(self) -> None:
        """Close the clients' connections. Not every provider's client can."""
        if self._warming:
            self._warming.cancel()
            await asyncio.wait([self._warming])
        for model in (self.primary, self.fallback):
            if close := getattr(model, "aclose", None):
                await close()

    def _asked(self, model: BaseChatModel, tools: Sequence[BaseTool], may_call: bool) -> Ask:
        """How to ask it: in its own way, if it gives words in place of messages."""
        bound = self._with_tools(model, tools, may_call)
        pieces = getattr(model, "pieces", None)
        return partial(pieces, **getattr(bound, "kwargs", {})) if pieces else cast(Ask, bound.astream)

    def _with_tools(self, model: BaseChatModel, tools: Sequence[BaseTool], may_call: bool = True) -> Runnable[Any, Any]:
        """Binding converts every tool's schema: done once for each set of tools, which is kept, so that no other can
        get its ids."""
        if not tools:
            return model
        key = (id(model), may_call, *map(id, tools))
        if key not in self._bound:
            if len(self._bound) > 8:
                self._bound.clear()
            choice = {} if may_call else {"tool_choice": _NO_CALLS.get(model._llm_type, "none")}
            self._bound[key] = tools, model.bind_tools(tools, **choice)
        return self._bound[key][1]


def _transport(model: BaseChatModel) -> Transport | None:
    """Of a Gemini model, its connections."""
    transport: Transport | None = (getattr(model, "client_args", None) or {}).get("transport")
    return transport


def _name(model: BaseChatModel) -> str:
    """As its provider calls it."""
    name = getattr(model, "model", None) or getattr(model, "model_name", None) or model._llm_type
    return str(name).removeprefix("models/")
