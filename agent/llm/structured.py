"""A model that is asked outside of calls, and answers in a form: as the judge of a call, or as its caller."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.runnables import Runnable
from pydantic import BaseModel

from agent.llm.attempts import status_of

T = TypeVar("T")
Form = TypeVar("Form", bound=BaseModel)

_SECONDS = 60.0  # that an answer may take


class NoStructuredAnswer(Exception):
    """The model has given no answer, or none in its form. The text is one sentence for people."""


@dataclass
class Usage:
    """What was asked of a model. input, output: tokens."""

    requests: int = 0
    input: int = 0
    output: int = 0
    seconds: float = 0.0

    def add(self, other: Usage) -> None:
        self.requests += other.requests
        self.input += other.input
        self.output += other.output
        self.seconds += other.seconds


class StructuredModel:
    """name: as it was configured. usage: of all questions so far."""

    def __init__(self, model: BaseChatModel, name: str) -> None:
        self.name = name
        self.usage = Usage()
        self._model = model
        self._bound: dict[type[BaseModel], Runnable[Any, Any]] = {}

    async def ask(self, instructions: str, question: str, form: type[Form]) -> Form:
        """One answer in that form. NoStructuredAnswer when there is none."""
        request = [SystemMessage(instructions), HumanMessage(question)]
        began = time.monotonic()
        try:
            with _quiet():
                answer = await asyncio.wait_for(self._in(form).ainvoke(request), _SECONDS)
        except NotImplementedError:
            raise NoStructuredAnswer(f"{self.name} cannot answer in a given form: name another model.") from None
        except Exception as error:  # any provider's
            self.usage.add(Usage(1, seconds=time.monotonic() - began))
            status = status_of(error)
            why = f"HTTP status {status}" if status else type(error).__name__
            raise NoStructuredAnswer(f"{self.name} gave no answer ({why}).") from error
        self._count(answer["raw"], time.monotonic() - began)
        parsed = answer["parsed"]
        if not isinstance(parsed, form):
            said = " ".join(str(answer["raw"].text).split())
            raise NoStructuredAnswer(f'{self.name} did not answer in the form it was given: "{_short(said)}"')
        return parsed

    async def closed_after(self, asking: Awaitable[T]) -> T:
        """What comes of it; then its connections are closed, where its client can."""
        try:
            return await asking
        finally:
            if close := getattr(self._model, "aclose", None):
                await close()

    def _in(self, form: type[BaseModel]) -> Runnable[Any, Any]:
        if form not in self._bound:
            self._bound[form] = self._model.with_structured_output(form, include_raw=True)
        return self._bound[form]

    def _count(self, message: Any, seconds: float) -> None:
        used = getattr(message, "usage_metadata", None) or {}
        self.usage.add(Usage(1, used.get("input_tokens", 0), used.get("output_tokens", 0), seconds))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's warning that a model's temperature is fixed, which is told for every question."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*uses fixed sampling defaults")
        yield


def _short(text: Any) -> str:
    return text if len(text) <= 80 else f"{text[:80]}…"
