"""Assertions about a conversation, for pytest. What fails prints the conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, Self

from api.simulate.conversation import Conversation, Exchange
from api.simulate.expectations import plain
from api.simulate.transcript import transcript
from api.simulate.world import written

Call = tuple[str, Mapping[str, Any]]


class Expectation:
    """What is expected of some exchanges of a conversation. Each method raises AssertionError, or gives this back."""

    def __init__(self, conversation: Conversation, exchanges: Sequence[Exchange]) -> None:
        self._conversation = conversation
        self._exchanges = exchanges
        self._expected: list[Call] = []

    def called(self, tool: str, /, **arguments: Any) -> Self:
        """The tool ran, with at least these arguments."""
        __tracebackhide__ = True
        if not self._found((tool, arguments)):
            self._fail(f"{tool}({written(arguments)}) did not run")
        self._expected.append((tool, arguments))
        return self

    def then_called(self, tool: str, /, **arguments: Any) -> Self:
        """The tool ran, and for the first time after the one that was named before it."""
        __tracebackhide__ = True
        before = self._named()
        self.called(tool, **arguments)
        if self._found(before)[0] >= self._found((tool, arguments))[0]:
            self._fail(f"{tool}({written(arguments)}) did not run after {before[0]}({written(before[1])})")
        return self

    def times(self, count: int) -> Self:
        """The tool that was named last, with those arguments, ran so often."""
        __tracebackhide__ = True
        tool, arguments = self._named()
        if (ran := len(self._found((tool, arguments)))) != count:
            self._fail(f"{tool}({written(arguments)}) ran {ran} times, and not {count}")
        return self

    def once(self) -> Self:
        """The tool that was named last, with those arguments, ran once."""
        __tracebackhide__ = True
        return self.times(1)

    def not_called(self, tool: str, /, **arguments: Any) -> Self:
        """The tool did not run, with any arguments such as these."""
        __tracebackhide__ = True
        if self._found((tool, arguments)):
            self._fail(f"{tool}({written(arguments)}) ran")
        return self

    def nothing_else_called(self) -> Self:
        """No tool ran but those that were named."""
        __tracebackhide__ = True
        for name, arguments in self._ran:
            if not any(_fits(call, (name, arguments)) for call in self._expected):
                self._fail(f"{name}({written(arguments)}) ran")
        return self

    def heard(self, *texts: str) -> Self:
        """The caller heard these words, whatever their case and punctuation."""
        __tracebackhide__ = True
        for text in texts:
            if plain(text) not in self._heard:
                self._fail(f'the caller did not hear "{text}"')
        return self

    def not_heard(self, *texts: str) -> Self:
        """The caller heard none of these words."""
        __tracebackhide__ = True
        for text in texts:
            if plain(text) in self._heard:
                self._fail(f'the caller heard "{text}"')
        return self

    def first_words_within(self, seconds: float) -> Self:
        """The agent began to speak in time."""
        __tracebackhide__ = True
        for exchange in self._exchanges:
            if exchange.first_words is None or exchange.first_words > seconds:
                came = "never" if exchange.first_words is None else f"after {exchange.first_words:.1f} s"
                self._fail(f"the first words came {came}, and not within {seconds:g} s")
        return self

    @property
    def _heard(self) -> str:
        return plain("\n".join(exchange.heard for exchange in self._exchanges))

    @property
    def _ran(self) -> list[Call]:
        return [(tool.name, tool.arguments) for exchange in self._exchanges for tool in exchange.tools]

    def _found(self, call: Call) -> list[int]:
        """Where it stands among what ran."""
        return [place for place, ran in enumerate(self._ran) if _fits(call, ran)]

    def _named(self) -> Call:
        if not self._expected:
            raise ValueError("name a tool first: expect(…).called(…)")
        return self._expected[-1]

    def _fail(self, what: str) -> NoReturn:
        __tracebackhide__ = True
        raise AssertionError(f"{what}\n\n{transcript(self._conversation)}")


def _fits(call: Call, ran: Call) -> bool:
    return call[0] == ran[0] and call[1].items() <= ran[1].items()
