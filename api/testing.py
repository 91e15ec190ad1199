"""For hand-written tests: a scripted model, and a conversation that is held in webhooks.

    async def test_it_books():
        model = scripted_model(call("book_table", people=4, time="19:00"), call("confirm", yes=True), "It is booked.")
        async with conversation(model) as talk:
            assert (await talk.say("A table for four at seven")).text == "Book a table for 4 today at 19:00?"
            reply = await talk.say("Yes")
        expect(reply).called("book_table", people=4, time="19:00").once().heard("It is booked")

The graph, the tools and the web application are the real ones; memory is gone afterwards.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from agent.config import AgentConfig
from agent.llm import Models
from agent.replay import ScriptedModel
from agent.replay import run_file as runs
from agent.tooling import ToolFolder
from agent.turns import Observer, Turn
from api.platforms import in_process
from api.replay import Heard, LayercodeWire, temporary_application
from api.settings import NotConfigured, Settings
from api.simulate import (
    Conversation,
    Exchange,
    Expectation,
    Judge,
    ModelJudge,
    ScriptedJudge,
    Verdict,
    call_chunks,
    now,
    transcript,
    word_chunks,
)
from api.simulate import judge as judge_of
from api.wiring import AgentParts, load_judge

_SCRIPTED = "For a test that needs none: conversation(…, judge=scripted_judge(True))."
TOOLS = Path(__file__).parent.parent / "tools"


class UnexpectedModelCall(AssertionError):
    """The model was asked more often than the script has answers."""


class UnusedAnswers(AssertionError):
    """The script has answers that the model was never asked for."""


@dataclass(frozen=True)
class Call:
    """A tool call in a script. Several of them in a list are made at once."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """What a caller got. text: the words spoken. data: what the page got, tool reports aside. tool_calls: (name,
    arguments) of every tool that ran. hung_up: whether the line was dropped before the end. conversation: up to here,
    and what came later; exchange: this one in it."""

    text: str
    data: list[Any]
    tool_calls: list[tuple[str, dict[str, Any]]]
    turn_id: str
    hung_up: bool
    conversation: Conversation = field(repr=False, compare=False)
    exchange: Exchange = field(repr=False, compare=False)


def expect(of: Reply | ConversationClient) -> Expectation:
    """Assertions about a reply, or about all of a conversation. What fails prints the conversation."""
    return Expectation(of.conversation, [of.exchange] if isinstance(of, Reply) else of.conversation.exchanges)


def call(name: str, /, **arguments: Any) -> Call:
    return Call(name, arguments)


def scripted_model(*answers: str | Call | list[Call]) -> ScriptedModel:
    """A model that gives these answers, one for each time it is asked: words, a call, or several at once."""
    numbers = count(1)
    return ScriptedModel(script=deque(_answer(answer, numbers) for answer in answers))


def scripted_judge(*verdicts: bool | str) -> ScriptedJudge:
    """A judge that finds this, in order: True, or the reason why a criterion does not hold."""
    return ScriptedJudge([Verdict(passed=verdict is True, reason=str(verdict)) for verdict in verdicts])


@asynccontextmanager
async def conversation(
    model: ScriptedModel,
    *,
    tools: Path = TOOLS,
    welcome: str = "",
    caller: str | None = None,
    judge: Judge | None = None,
) -> AsyncIterator[ConversationClient]:
    """A conversation with the agent. At its end the script must have been used up, and not been too short.

    judge: for `talk.judge`; None: the configured model.
    """
    folder = ToolFolder(tools)
    folder.load()
    models, config = Models(model, first_token=60), AgentConfig(welcome=welcome)
    talk = ConversationClient(caller, judge)
    async with (
        temporary_application(AgentParts(folder, models, config), observers=[talk]) as (app, agent, _),
        in_process(app) as network,
    ):
        talk.wire = LayercodeWire(network)
        yield talk
        await agent.drain(5)
    if model.asked_too_often:
        raise UnexpectedModelCall(
            f"the model was asked {len(model.asked_too_often)} times more than the script has answers"
        )
    if model.script:
        raise UnusedAnswers(f"{len(model.script)} answers of the script were never asked for")


class ConversationClient(Observer):
    """The caller's side."""

    wire: LayercodeWire

    def __init__(self, caller: str | None, judge: Judge | None = None) -> None:
        self.conversation = Conversation(f"test-{uuid.uuid4().hex[:8]}")
        self._caller, self._judge = caller, judge
        self._began = now()
        self._turns: dict[str, Turn] = {}
        self._over = asyncio.Event()

    def turn_over(self, turn: Turn) -> None:
        self._turns[turn.request.turn_id] = turn
        self._over.set()

    async def say(
        self, text: str, *, heard: tuple[Reply, str] | None = None, hang_up_after: int | None = None
    ) -> Reply:
        """Say something, and listen to the end, or hang up after so many events.

        heard: an earlier reply that was interrupted, and what was heard of it.
        """
        fields: dict[str, Any] = {"kind": "message", "text": text}
        if heard:
            fields["heard"] = {"turn_id": heard[0].turn_id, "text": heard[1]}
            heard[0].exchange.heard = heard[1]
        return await self._send(fields, hang_up_after)

    async def begin(self) -> Reply:
        """The session starts: the agent may greet."""
        return await self._send({"kind": "welcome"})

    async def send_data(self, data: Any) -> None:
        """The page sends JSON."""
        await self._send({"kind": "data", "data": data})

    async def judge(self, *criteria: str) -> None:
        """What was heard so far is so, as a judge finds. AssertionError with its reason and the conversation."""
        __tracebackhide__ = True
        if self._judge:
            found = await judge_of(self._judge, self.conversation, criteria)
        else:
            try:
                model = await asyncio.to_thread(lambda: load_judge(Settings.load()))
            except NotConfigured as error:
                raise NotConfigured(*error.problems, _SCRIPTED) from None
            found = await model.closed_after(judge_of(ModelJudge(model), self.conversation, criteria))
        if found.faults:
            raise AssertionError("\n".join([*found.faults, "", transcript(self.conversation)]))

    async def _send(self, fields: dict[str, Any], hang_up_after: int | None = None) -> Reply:
        number = len(self.conversation.exchanges) + 1
        turn_id = f"turn-{number}"
        webhook = {"conversation_id": self.conversation.name, "turn_id": turn_id, "caller": self._caller, **fields}
        hung_up = None if hang_up_after is None else runs.HungUp(events=hang_up_after, ms=0)
        exchange = Exchange(number, fields.get("text", ""), now() - self._began, Heard())
        self.conversation.exchanges.append(exchange)
        heard = await self.wire.talk(runs.RecordedTurn(at=0, webhook=webhook, hung_up=hung_up), exchange.stream)
        while fields["kind"] != "data" and turn_id not in self._turns:
            self._over.clear()  # the stream is over before the turn is journalled
            await self._over.wait()
        turn = self._turns.get(turn_id)
        exchange.heard, exchange.tools = exchange.words, turn.tools if turn else ()
        shown = [content for _, kind, content in heard.sent if kind == "show"]
        return Reply(
            text=exchange.words,
            data=[content for content in shown if not _is_report(content)],
            tool_calls=list(turn.tool_calls) if turn else [],
            turn_id=turn_id,
            hung_up=heard.hung_up,
            conversation=self.conversation,
            exchange=exchange,
        )


def _is_report(content: Any) -> bool:
    return isinstance(content, dict) and content.keys() >= {"tool", "status", "call_id", "ms"}


def _answer(answer: str | Call | list[Call], numbers: count[int]) -> runs.RecordedModelCall:
    """As a recorded answer: words in a chunk each, calls in one."""
    if isinstance(answer, str):
        return runs.RecordedModelCall(chunks=word_chunks(answer))
    calls = [(one.name, one.arguments) for one in (answer if isinstance(answer, list) else [answer])]
    return runs.RecordedModelCall(chunks=[[0, "", call_chunks(calls, numbers)]])
