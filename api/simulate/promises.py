"""What must hold in every call, whatever its scenario says."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from agent.config import AgentConfig
from agent.languages import Texts, own_line
from agent.replay import prompt_of, remembered_otherwise
from agent.tooling import ToolFolder, options_of
from agent.turns import CallControl, Say
from api.simulate.conversation import Conversation, Exchange
from api.simulate.expectations import times_of
from api.simulate.scenario import Expect

_SLACK = 1.0  # seconds that an end may take beyond its time


@dataclass(frozen=True)
class Promises:
    """folder, config: what the agent was made of. apology: what it says when it cannot answer."""

    folder: ToolFolder
    config: AgentConfig
    apology: Texts
    expect: Expect

    def broken(self, conversation: Conversation) -> Iterator[str]:
        """What did not hold, in words: turn by turn, and in a turn the cause before what follows from it."""
        for exchange in conversation.exchanges:
            for fault in self._of(exchange, conversation):
                yield f"Turn {exchange.number}: {fault}."

    def _of(self, exchange: Exchange, conversation: Conversation) -> Iterator[str]:
        yield from self._told(exchange)
        yield from _remembered(exchange, conversation)
        yield from _ran(exchange, conversation)
        yield from self._in_time(exchange)
        yield from _stopped(exchange)
        yield from _said_last(exchange)
        yield from (words for turn, words in conversation.unexpected if turn == exchange.turn_id)
        yield from self._answered(exchange)
        yield from _repeated(exchange)
        yield from self._prompt(exchange)

    def _told(self, exchange: Exchange) -> Iterator[str]:
        """The prompt, with the date of the scenario. What is known of the call stands behind it."""
        prompt = prompt_of(exchange.turn) if exchange.turn else None
        due = self.config.prompt.replace("{today}", self.config.today())
        if prompt is not None and not prompt.startswith(due):
            pairs = zip(prompt.splitlines(), due.splitlines(), strict=False)
            told, meant = next(((one, other) for one, other in pairs if one != other), (prompt, due))
            yield f"the model was told {told!r} in place of {meant!r}"

    def _in_time(self, exchange: Exchange) -> Iterator[str]:
        for tool in exchange.tools:
            limit = options_of(self.folder.tools[tool.name]).timeout
            if tool.seconds is not None and tool.seconds > limit + _SLACK:
                yield f"{tool.name} ran for {tool.seconds:.1f} s, and its time limit is {limit:g} s"

    def _answered(self, exchange: Exchange) -> Iterator[str]:
        """The answer ends once, in words that are worth something, and says no line twice."""
        stream = exchange.stream
        if not stream.hung_up and stream.ended != 1:
            yield f"its answer ended {times_of(stream.ended) if stream.ended else 'never'}"
        if not stream.hung_up and exchange.said and not exchange.words.strip():
            yield "the caller got no words"
        apology = own_line(self.apology, exchange.turn.speaks) if exchange.turn else ""
        if apology and apology in exchange.words and not self.expect.apology:
            yield f'the caller heard the apology in place of an answer{_why(exchange)}: "{apology}"'
        said = [sent.event for sent in exchange.turn.events if isinstance(sent.event, Say)] if exchange.turn else []
        for one, other in pairwise(said):
            if one.of is None and other.of is None and one.text.strip() == other.text.strip():
                yield f'the line "{one.text.strip()}" was said twice in a row'

    def _prompt(self, exchange: Exchange) -> Iterator[str]:
        """The first words, and those after them, come in time."""
        first, limit = exchange.first_words, self.expect.first_words
        if first is not None and limit is not None and first > limit:
            yield f"the first words came after {first:.1f} s, and the limit is {limit:g} s"
        for since, seconds in exchange.silences():
            if seconds > (limit := self.expect.silence):
                yield f"nothing was said for {seconds:.1f} s, from {since:.1f} s on, and the limit is {limit:g} s"


def _why(exchange: Exchange) -> str:
    """When it was the model that failed: how."""
    ended = [call.ended for call in exchange.turn.model_calls] if exchange.turn else []
    return f", as the model failed ({ended[-1]})" if ended and ended[-1] not in ("complete", "left") else ""


def _stopped(exchange: Exchange) -> Iterator[str]:
    """An answer that the caller interrupts, or leaves, ends there."""
    turn, told = exchange.turn, exchange.told if exchange.told is not None else math.inf
    late = turn is None or turn.ended_ms is None or turn.ended_ms / 1000 > told + _SLACK
    if exchange.stream.hung_up and (turn is None or not turn.interrupted or late):
        yield "the caller interrupted the answer, and it went on all the same"


def _said_last(exchange: Exchange) -> Iterator[str]:
    """A call that the agent ends after words of its own is over with them: no others follow."""
    events = [sent.event for sent in exchange.turn.events] if exchange.turn else []
    ends = (isinstance(event, CallControl) and event.action != "send_dtmf" for event in events)
    place = next((number for number, is_end in enumerate(ends) if is_end), len(events))
    before, after = (_words(part) for part in (events[:place], events[place:]))
    if before and after:
        yield f'the agent said "{after}" after it had said its last words and ended the call'


def _words(events: Sequence[object]) -> str:
    return "".join(event.text for event in events if isinstance(event, Say)).strip()


def _remembered(exchange: Exchange, conversation: Conversation) -> Iterator[str]:
    """What the model is shown of the turns before is what was heard of them."""
    for before in conversation.exchanges[: exchange.number]:
        if exchange.turn and before.turn and (fault := remembered_otherwise(exchange.turn, before.turn, before.heard)):
            yield fault


def _ran(exchange: Exchange, conversation: Conversation) -> Iterator[str]:
    """Each call of a tool ran once at most, and only after its question was heard, in an earlier turn."""
    runs = Counter(call.key for call in conversation.performed)
    mine = [call for call in conversation.performed if conversation.turn_at(call.at) == exchange.turn_id]
    for call in {call.key: call for call in mine}.values():
        if runs[call.key] > 1:
            yield f"{call.tool} ran {times_of(runs[call.key])} for one call"
        if call.question and not _was_heard(call.question, conversation.exchanges[: exchange.number]):
            yield f'{call.tool} ran though the caller had not heard "{call.question}" and agreed'


def _was_heard(question: str, exchanges: Sequence[Exchange]) -> bool:
    """Also when the report lacked its last word, twice: then it lags behind what the caller hears and answers."""
    nearly = question.rsplit(maxsplit=1)[0]
    return any(question in one.heard for one in exchanges) or sum(nearly in one.heard for one in exchanges) > 1


def _repeated(exchange: Exchange) -> Iterator[str]:
    """The same request gets the same answer."""
    for stream in exchange.again:
        pairs = zip(stream.sent, exchange.stream.sent, strict=False)
        whole = stream.ended and exchange.stream.ended
        if (whole and len(stream.sent) != len(exchange.stream.sent)) or any(
            one[1:] != other[1:] for one, other in pairs
        ):
            yield "the same request, sent again, got another answer"
