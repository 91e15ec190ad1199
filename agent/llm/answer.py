"""The language model: chosen by a string, and asked within time limits.

`MODEL=google_genai:gemini-3.5-flash-lite` is Gemini; any other string is given to `init_chat_model`; `demo`
needs no key. What fails before the first spoken word is tried again, as `agent/llm/attempts.py` says. After it nothing
is: the caller has heard it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    AnyMessage,
    HumanMessage,
    SystemMessage,
    message_chunk_to_message,
)
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import SecretStr

from agent.failures import log_failure
from agent.llm.attempts import ModelCandidate, RetryPlan, status_of
from agent.llm.breaker import Breaker
from agent.speech import Speakable
from agent.turns import Chunk, ModelCall, Turn, apology_message, interrupted_message, merge

if TYPE_CHECKING:
    from agent.llm.gemini.transport import Transport

log = logging.getLogger(__name__)

Ask = Callable[[list[AnyMessage]], AsyncGenerator[Chunk, None]]

_KEYS = ("GOOGLE_GENERATIVE_AI_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY")
_RETRY_AFTER = 0.2  # seconds


class ModelError(Exception):
    """The model cannot be used as configured. The text is one sentence for the operator."""


def load_model(
    name: str, *, google_api_key: str | None = None, google_base_url: str | None = None, gemini_fast: bool = True
) -> BaseChatModel:
    """The chat model that `name` stands for: `demo`, `gemini-…` with or without `google_genai:` before it, or
    anything `init_chat_model` takes. ModelError when it is unknown, not installed or lacks its key."""
    if name == "demo":
        from agent.llm.demo import DemoModel

        return DemoModel()
    provider, _, model = name.rpartition(":")
    if model and (provider == "google_genai" or name.startswith("gemini-")):
        return _gemini(model, google_api_key, google_base_url, gemini_fast)
    from langchain.chat_models import init_chat_model

    try:
        made: BaseChatModel = init_chat_model(name)
    except ImportError as error:
        raise ModelError(f"MODEL={name} needs a package that is not installed: {error}") from error
    except Exception as error:
        raise ModelError(
            f"MODEL={name} cannot be used ({str(error).splitlines()[0].rstrip('.')}): name the provider too, as in"
            " google_genai:gemini-3.5-flash-lite, and set its key."
        ) from error
    return made


def _gemini(model: str, api_key: str | None, base_url: str | None, fast: bool) -> BaseChatModel:
    """Retries are ours, not the client's: its own cost seconds of silence (1 means none, 0 the default 6)."""
    if not api_key:
        raise ModelError(f"The model has no key: set {_KEYS[0]}, or MODEL=demo to run without a language model.")
    from langchain_google_genai import ChatGoogleGenerativeAI

    from agent.llm.gemini.chat_model import Gemini
    from agent.llm.gemini.transport import Transport

    return (Gemini if fast else ChatGoogleGenerativeAI)(
        model=model,
        google_api_key=SecretStr(api_key),
        base_url=base_url,
        max_retries=1,
        client_args={"transport": Transport()},
    )


@dataclass
class Models:
    """The model and its fallback.

    first_token: seconds until an answer must have begun, over all attempts; later, how long it may pause.
    apology: said when no answer can be had.
    summarises: whether the model can be asked to summarise a long conversation.
    """

    primary: BaseChatModel
    fallback: BaseChatModel | None = None
    first_token: float = 5.0
    apology: str = "Sorry, something went wrong on my side. Please say that again."
    summarises: bool = False
    candidates: list[ModelCandidate] = field(init=False)
    _bound: dict[tuple[int, ...], tuple[Sequence[BaseTool], Runnable[Any, Any]]] = field(default_factory=dict)
    _warming: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        models = [self.primary, self.fallback] if self.fallback else [self.primary]
        self.candidates = [ModelCandidate(model, _name(model), Breaker()) for model in models]

    async def answer(
        self, turn: Turn, messages: Sequence[AnyMessage], tools: Sequence[BaseTool], id_: str
    ) -> AIMessage | None:
        """One answer, spoken while it streams; it carries tool calls, or words.

        None when the turn was interrupted before a word of it was sent. When no attempt brings an answer, or one
        breaks off, it ends in the apology.
        """
        attempts = RetryPlan(self.candidates, self.first_token, turn.now)
        for candidate, patience in attempts:
            answer = _Answer(turn, id_, ModelCall(messages, [tool.name for tool in tools], model=candidate.name))
            status = None
            try:
                await answer.read(self._asked(candidate.model, tools), patience, self.first_token)
            except Exception as error:  # noqa: BLE001 - any provider's errors; the next attempt is the answer
                status = status_of(error)
                log_failure(log, f"the model failed (HTTP status {status})", error)
            if turn.interrupted:
                return answer.cut()
            if answer.complete:
                candidate.breaker.succeeded()
                return answer.message()
            attempts.failed(candidate, silent=answer.silent, status=status)
            if answer.spoken or turn.now() >= turn.deadline:
                break
            log.warning("the model %s gave no answer", candidate.name)
            if attempts.left and not answer.silent:
                await turn.sleep(_RETRY_AFTER)
        return self.give_up(turn, id_)

    def give_up(self, turn: Turn, id_: str) -> AIMessage:
        """End the answer in the apology."""
        own = turn.said(id_)
        turn.say(f" {self.apology}" if own else self.apology, of=id_)
        turn.failed = True
        return apology_message(turn.said(id_), id_, own=len(own))

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

    def _asked(self, model: BaseChatModel, tools: Sequence[BaseTool]) -> Ask:
        """How to ask it: in its own way, if it gives words in place of messages."""
        bound = self._with_tools(model, tools)
        pieces = getattr(model, "pieces", None)
        return partial(pieces, **getattr(bound, "kwargs", {})) if pieces else cast(Ask, bound.astream)

    def _with_tools(self, model: BaseChatModel, tools: Sequence[BaseTool]) -> Runnable[Any, Any]:
        """Binding converts every tool's schema: done once for each set of tools, which is kept, so that no other can
        get its ids."""
        if not tools:
            return model
        key = (id(model), *map(id, tools))
        if key not in self._bound:
            if len(self._bound) > 8:
                self._bound.clear()
            self._bound[key] = tools, model.bind_tools(tools)
        return self._bound[key][1]


def _transport(model: BaseChatModel) -> Transport | None:
    """Of a Gemini model, its connections."""
    transport: Transport | None = (getattr(model, "client_args", None) or {}).get("transport")
    return transport


class _Answer:
    """One attempt at one answer. `call` is the account of it that the turn keeps."""

    def __init__(self, turn: Turn, id_: str, call: ModelCall) -> None:
        self._turn = turn
        self._id = id_
        self._call = call

    async def read(self, ask: Ask, patience: float, pause: float) -> None:
        """Speak the stream. Returns early on an interruption, at the turn's deadline, when it has not begun within
        `patience` seconds, and when it then stops for `pause` seconds."""
        turn, call, speech = self._turn, self._call, Speakable()
        turn.model_calls.append(call)
        began = turn.now()
        call.began = began - turn.began
        try:
            async with asyncio.timeout_at(min(began + patience, turn.deadline)) as scope:
                with turn.stoppable(scope):
                    async with aclosing(ask(list(call.messages))) as stream:
                        async for chunk in stream:
                            now, text = turn.now(), chunk.text
                            if (text or chunk.tool_call_chunks) and not turn.interrupted:
                                self._put_off(scope, now, pause)
                            call.chunks.append((now - began, chunk))
                            turn.say(speech.feed(text), of=self._id)
        except TimeoutError as error:
            if not scope.expired():
                call.ended = type(error).__name__
                raise
        except Exception as error:
            call.ended = type(error).__name__
            raise
        else:
            turn.say(speech.end(), of=self._id)
            call.ended = "complete"
        finally:
            call.seconds = turn.now() - began

    def _put_off(self, scope: asyncio.Timeout, now: float, pause: float) -> None:
        """Let the stream stop for `pause` seconds from now on, or a quarter more: to set a timer for each token
        costs as much as reading it."""
        if (scope.when() or 0.0) < min(now + pause, self._turn.deadline):
            scope.reschedule(min(now + 1.25 * pause, self._turn.deadline))

    @property
    def silent(self) -> bool:
        """Whether it was left, out of time, before its end."""
        return self._call.ended == "left"

    @property
    def spoken(self) -> bool:
        return bool(self._turn.said(self._id))

    @property
    def complete(self) -> bool:
        """Whether the stream came to its end, with words or with tool calls whose arguments are whole: LangChain
        reads broken JSON as far as it goes, and half a call must not be run."""
        if self._call.ended != "complete" or not self._call.chunks:
            return False
        whole = self._whole
        calls_are_whole = not whole.invalid_tool_calls and all(
            _is_object(chunk["args"]) for chunk in whole.tool_call_chunks
        )
        return calls_are_whole and (self.spoken or bool(whole.tool_calls))

    def message(self) -> AIMessage:
        """The whole message, exactly as the provider's client put it together. Only a call whose id is missing, or
        was there before, gets a new one: what is run once, and answered, goes by its id."""
        message = cast(AIMessage, message_chunk_to_message(self._whole))
        message.id = self._id
        asked = (m for m in self._call.messages if isinstance(m, AIMessage))
        known = {call["id"] for earlier in asked for call in earlier.tool_calls}
        for number, call in enumerate(message.tool_calls):
            if not call["id"] or call["id"] in known:
                call["id"] = f"{self._id}/{number}"
            known.add(call["id"])
        return message

    @cached_property
    def _whole(self) -> AIMessageChunk:
        """Once the stream has ended."""
        return merge(chunk for _, chunk in self._call.chunks)

    def cut(self) -> AIMessage | None:
        """What was sent of it. Its tool calls, if it had come to any, were not begun and are left out."""
        text = self._turn.sent_text(self._id)
        return interrupted_message(text, self._id) if text else None


def _name(model: BaseChatModel) -> str:
    """As its provider calls it."""
    name = getattr(model, "model", None) or getattr(model, "model_name", None) or model._llm_type
    return str(name).removeprefix("models/")


def _is_object(text: str | None) -> bool:
    try:
        return isinstance(json.loads(text or "{}"), dict)
    except ValueError:
        return False
