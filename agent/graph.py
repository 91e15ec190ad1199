"""The state machine of a turn.

    begin ─┬─▶ greet ─────────────────────────────────▶ end
           └─▶ think ─┬─▶ act (one for each call) ─▶ think …
                      ├─▶ ask ────────────────────────▶ end
                      └───────────────────────────────▶ end

It begins with what `listen` makes of the memory: brought up to date with what was heard and done since, with the
caller's words at its end. Then

greet   speaks first
think   asks the model; its words are spoken as they stream
act     runs one tool call; the calls of one step run side by side
ask     puts the question of a call that must be confirmed

An interruption is not an exception here: every node ends early and normally, so that the run ends at a valid
checkpoint. One checkpoint is written, at the end (`durability="exit"`); what a crash would lose until then is
in the journal. Every function is `async`, those of the edges too: LangGraph gives others to a thread.
"""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict, cast

from langchain_core.callbacks import AsyncCallbackManager
from langchain_core.messages import AIMessage, AnyMessage, SystemMessage, ToolCall
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import BaseTool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import Overwrite, Send

from agent.llm.answer import Models
from agent.memory import confirmation, history
from agent.memory.confirmation import CONFIRM, Pending, latest
from agent.storage.entries import Opening
from agent.storage.fence import TURN
from agent.tooling.call import Action, fault_in, unknown_tool
from agent.tooling.decorator import manners_of
from agent.tooling.runner import Actions
from agent.turns.turn import Turn


class State(TypedDict):
    """What a checkpoint holds of a conversation."""

    messages: Annotated[list[AnyMessage], operator.add]
    pending: Annotated[Pending | None, latest]


@dataclass
class Context:
    """What the nodes of one turn work with. Not remembered. state: what the turn begins with, made of that checkpoint.
    thinking: the first step, where it was begun before."""

    turn: Turn
    tools: dict[str, BaseTool]
    models: Models
    actions: Actions
    prompt: str
    welcome: str
    max_tool_steps: int
    state: State
    checkpoint: str | None
    thinking: asyncio.Task[dict[str, Any]] | None = None


class Step(TypedDict):
    """What one `act` gets: a call, the message that made it, and the action that waits for the caller's yes."""

    call: ToolCall
    message: AIMessage
    pending: Pending | None


Graph = CompiledStateGraph[State, Context, State, State]


def build_graph(saver: BaseCheckpointSaver[str]) -> Graph:
    graph = StateGraph(State, context_schema=Context)
    graph.add_node("greet", greet)
    graph.add_node("think", think)
    graph.add_node("act", act)
    graph.add_node("ask", ask)
    graph.add_conditional_edges(START, begin, ["greet", "think", END])
    graph.add_conditional_edges("think", after_thinking, ["act", "ask", END])
    graph.add_edge("act", "think")
    graph.add_edge("greet", END)
    graph.add_edge("ask", END)
    return graph.compile(checkpointer=saver)


def is_traced() -> bool:
    """Whether somebody, such as LangSmith, wants to know of each call to the model, and of which run it is a part."""
    return bool(AsyncCallbackManager.configure(ensure_config().get("callbacks")).handlers)


async def run(graph: Graph, context: Context, *, worker: str, traced: bool) -> list[AnyMessage]:
    """Run a turn, and write the next checkpoint; the messages in it.

    LangGraph takes a millisecond to come to the first node, so thinking is begun beside that; unless the run is
    `traced`, as the call to the model would not be seen as a part of it then.
    """
    asked = context.turn.asked
    config: RunnableConfig = {
        "configurable": {"thread_id": asked.conversation_id, TURN: (context.turn, worker)},
        "recursion_limit": 4 * context.max_tool_steps + 10,
    }
    beginning: Any = {**context.state, "messages": Overwrite(context.state["messages"])}
    try:
        if not (traced or context.thinking):
            begin_thinking(context)
            await asyncio.sleep(0)  # let it come first
        end = await graph.ainvoke(beginning, config, context=context, durability="exit")
    finally:
        await abandon(context)
    return cast(list[AnyMessage], end["messages"])


def listen(turn: Turn, opening: Opening, kept: Mapping[str, Any]) -> State:
    """What a turn begins with. kept: the state as the last turn has left it; empty in a new conversation. Speaks the
    lines that nobody could hear any more when they were due."""
    messages = history.listen(kept.get("messages", ()), turn.asked, opening)
    for call in opening.late:
        for line in call.said:
            turn.progress(line)
    return {"messages": messages, "pending": confirmation.heard(kept.get("pending"), messages)}


def begin_thinking(context: Context) -> None:
    """Take the first step, for the graph to find it taken. Whoever calls this calls `abandon` in the end."""
    if _first_node(context.state, context) == "think":
        context.thinking = asyncio.create_task(_think(context.state, context))


async def abandon(context: Context) -> None:
    """Leave a step that was begun before, if no node has taken it up."""
    if context.thinking:
        context.thinking.cancel()
        await asyncio.gather(context.thinking, return_exceptions=True)


async def begin(state: State, runtime: Runtime[Context]) -> str:
    return _first_node(state, runtime.context)


def _first_node(state: State, context: Context) -> str:
    asked = context.turn.asked
    if asked.kind == "message":
        return "think" if asked.text.strip() else END
    resumed = any(isinstance(message, AIMessage) for message in state["messages"])
    return END if resumed or not context.welcome else "greet"


async def greet(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    turn, welcome = runtime.context.turn, runtime.context.welcome
    id_ = history.reply_id(turn.asked, state["messages"])
    turn.say(welcome, of=id_)
    return {"messages": [AIMessage(welcome, id=id_)]}


async def think(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    begun, runtime.context.thinking = runtime.context.thinking, None
    return await (begun or _think(state, runtime.context))


async def _think(state: State, context: Context) -> dict[str, Any]:
    messages = state["messages"]
    if context.turn.interrupted or confirmation.only_asks(messages, state.get("pending")):
        return {}
    tools: list[BaseTool] = []
    if history.tool_steps(messages) < context.max_tool_steps:
        tools = [*context.tools.values(), *confirmation.tools(state.get("pending"))]
    id_ = history.reply_id(context.turn.asked, messages)
    fit = history.repair(messages)
    context.turn.repaired |= fit != messages
    shown = [SystemMessage(context.prompt), *history.shown(fit)]
    answer = await context.models.answer(context.turn, shown, tools, id_)
    if answer and answer.tool_calls and not tools:
        answer = context.models.give_up(context.turn, id_)
    return {"messages": [answer]} if answer else {}


async def after_thinking(state: State) -> list[Send] | str:
    message, pending = state["messages"][-1], state.get("pending")
    if isinstance(message, AIMessage) and message.tool_calls:
        return [Send("act", Step(call=call, message=message, pending=pending)) for call in message.tool_calls]
    return "ask" if pending and not pending["question_id"] else END


async def act(state: Step, runtime: Runtime[Context]) -> dict[str, Any]:
    context, call = runtime.context, state["call"]
    if call["name"] == CONFIRM:
        return await _confirm(state, context)
    tool = context.tools.get(call["name"])
    if tool is None:
        return {"messages": [unknown_tool(call, context.tools)]}
    key = f"{state['message'].id}/{call['id']}"
    action = Action(key, call["id"] or "", tool, call["args"], state["message"])
    if action.manners.confirm:
        if fault := fault_in(tool, call["args"]):
            return {"messages": [action.answer(fault, failed=True)]}
        return confirmation.pin(action, may_ask=call == _first_to_confirm(state["message"], context))
    return {"messages": [await context.actions.run(context.turn, action)]}


def _first_to_confirm(message: AIMessage, context: Context) -> ToolCall | None:
    """One question at a time: of several calls in a step that need one, the first is asked."""

    def can_be_asked(call: ToolCall) -> bool:
        tool = context.tools.get(call["name"])
        return bool(tool and manners_of(tool).confirm and not fault_in(tool, call["args"]))

    return _first(message, can_be_asked)


def _first(message: AIMessage, fits: Callable[[ToolCall], bool]) -> ToolCall | None:
    return next((call for call in message.tool_calls if fits(call)), None)


async def _confirm(step: Step, context: Context) -> dict[str, Any]:
    """The caller has said yes, or no, to the pinned call. It stays pinned when the turn was interrupted first."""
    call, pending = step["call"], step["pending"]
    tool = context.tools.get(pending["name"]) if pending and pending["heard"] else None
    if pending is None or tool is None:
        return {"messages": [confirmation.nothing_to_confirm(call)]}
    if call != _first(step["message"], lambda other: other["name"] == CONFIRM):
        return {"messages": [confirmation.settled_already(call)]}
    settled = {} if context.turn.interrupted or _first_to_confirm(step["message"], context) else {"pending": None}
    if not call["args"].get("yes"):
        return {"messages": [confirmation.declined(call)], **settled}
    action = Action(pending["key"], call["id"] or "", tool, pending["arguments"], step["message"])
    return {"messages": [await context.actions.run(context.turn, action)], **settled}


async def ask(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    turn, pending = runtime.context.turn, state["pending"]
    if pending is None or turn.interrupted:
        return {"pending": None}
    id_ = history.reply_id(turn.asked, state["messages"])
    turn.say(pending["question"], of=id_)
    return {"messages": [AIMessage(pending["question"], id=id_)], "pending": {**pending, "question_id": id_}}
