"""What must hold in every call, whatever its scenario says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from agent.config import AgentConfig
from agent.replay import prompt_of, remembered_otherwise
from agent.tooling import ToolFolder, options_of
from agent.turns import Say
from api.simulate.conversation import Conversation, Exchange
from api.simulate.scenario import Expect

_SLACK = 1.0  # seconds that an end may take beyond its time


@dataclass(frozen=True)
class Promises:
    """folder, config: what the agent was made of. apology: what it says when it cannot answer."""

    folder: ToolFolder
    config: AgentConfig
    apology: str
    expect: Expect

    def broken(self, conversation: Conversation) -> Iterator[str]:
        """What did not hold, in words, in the order of the turns."""
        for exchange in conversation.exchanges:
            for fault in self._of(exchange, conversation):
                yield f"Turn {exchange.number}: {fault}"

    def _of(self, exchange: Exchange, conversation: Conversation) -> Iterator[str]:
        yield from self._told(exchange)
        yield from _remembered(exchange, conversation)
        yield from self._tools(exchange)
        yield from _asked_first(exchange, conversation)
        yield from _ends(exchange)
        yield from self._answer(exchange)
        yield from _repeated(exchange)
        yield from self._silence(exchange)

    def _told(self, exchange: Exchange) -> Iterator[str]:
        """The prompt, with the date of the scenario."""
        prompt = prompt_of(exchange.turn) if exchange.turn else None
        due = self.config.prompt.replace("{today}", self.config.today())
        if prompt is not None and prompt != due:
            pairs = zip(prompt.splitlines(), due.splitlines(), strict=False)
            told, meant = next(((one, other) for one, other in pairs if one != other), (prompt, due))
            yield f"the model was told {told!r} in place of {meant!r}"

    def _tools(self, exchange: Exchange) -> Iterator[str]:
        for tool in exchange.turn.tools if exchange.turn else ():
            limit = options_of(self.folder.tools[tool.name]).timeout
            if tool.seconds is not None and tool.seconds > limit + _SLACK:
                yield f"{tool.name} ran for {tool.seconds:.1f} s, and its time limit is {limit:g} s"

    def _answer(self, exchange: Exchange) -> Iterator[str]:
        if self.apology in exchange.words and not self.expect.apology:
            yield f'the caller heard the apology in place of an answer: "{self.apology}"'
        said = [sent.event for sent in exchange.turn.events if isinstance(sent.event, Say)] if exchange.turn else []
        for one, other in pairwise(said):
            if one.of is None and other.of is None and one.text.strip() == other.text.strip():
                yield f'the line "{one.text.strip()}" was said twice in a row'

    def _silence(self, exchange: Exchange) -> Iterator[str]:
        for since, seconds in exchange.silences():
            if seconds > self.expect.silence:
                yield (
                    f"nothing was said for {seconds:.1f} s, from {since:.1f} s on; the limit is"
                    f" {self.expect.silence:g} s"
                )


def _ends(exchange: Exchange) -> Iterator[str]:
    """One end, and in words."""
    stream, turn = exchange.stream, exchange.turn
    if stream.hung_up:
        if turn is None:
            yield "the caller interrupted the answer, and it has not ended"
        elif exchange.cut is not None and not turn.interrupted:
            yield "the caller interrupted the answer, and it went on all the same"
        return
    if stream.ended != 1:
        yield f"its answer ended {stream.ended} times"
    if exchange.said and not exchange.words.strip():
        yield "the caller got no words"


def _remembered(exchange: Exchange, conversation: Conversation) -> Iterator[str]:
    """What the model is shown of the turns before is what was heard of them."""
    for before in conversation.exchanges[: exchange.number]:
        if exchange.turn and before.turn and (fault := remembered_otherwise(exchange.turn, before.turn, before.heard)):
            yield fault


def _asked_first(exchange: Exchange, conversation: Conversation) -> Iterator[str]:
    """Each call of a tool ran once at most, and only after its question was heard, in an earlier turn."""
    runs = Counter(call.key for call in conversation.performed)
    heard = "\n".join(one.heard for one in conversation.exchanges[: exchange.number])
    mine = [call for call in conversation.performed if conversation.turn_at(call.at) is exchange]
    for call in {call.key: call for call in mine}.values():
        if runs[call.key] > 1:
            yield f"{call.tool} ran {runs[call.key]} times for one call"
        if call.question and call.question not in heard:
            yield f'{call.tool} ran though the caller had not heard "{call.question}" and agreed'


def _repeated(exchange: Exchange) -> Iterator[str]:
    """The same request gets the same answer."""
    for stream in exchange.again:
        if [event[1:] for event in stream.sent] != [event[1:] for event in exchange.stream.sent]:
            yield "the same request, sent again, got another answer"
