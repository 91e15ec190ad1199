"""The state machine of a turn.

    listen ─┬─▶ greet ─────────────────────────────────▶ end
            └─▶ think ─┬─▶ act (one for each call) ─▶ think …, or end when the call is to end
                       ├─▶ ask ────────────────────────▶ end
                       └───────────────────────────────▶ end

listen  brings the memory up to date with what was heard and done since, and adds the caller's words
greet   speaks first, also when the caller comes back
think   asks the model; its words are spoken as they stream
act     runs one tool call; the calls of one step run side by side
ask     puts the question of a call that must be confirmed

An interruption is not an exception here: every node ends early and normally, so that the run ends at a valid
checkpoint. One checkpoint is written, at the end (`durability="exit"`); what a crash would lose until then is
in the journal. Every function is `async`, those of the edges too: LangGraph gives others to a thread.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, SystemMessage
from langchain_core.messages import ToolCall as ModelToolCall
from langchain_core.tools import BaseTool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import Overwrite, Send

from agent.llm import Models
from agent.memory import CONFIRM, Pending, confirmation, history, latest
from agent.storage import PendingContext
from agent.tooling import ToolCall, ToolRunner, fault_in, first_call, first_to_confirm, options_of, unknown_tool
from agent.turns import Turn


class State(TypedDict):
    """What a checkpoint holds of a conversation."""

    messages: Annotated[list[AnyMessage], operator.add]
    pending: Annotated[Pending | None, latest]


@dataclass
class Context:
    """What the nodes of one turn work with. Not remembered. opening: what the memory does not know yet."""

    turn: Turn
    tools: dict[str, BaseTool]
    models: Models
    tool_runner: ToolRunner
    prompt: str
    welcome: str
    welcome_back: str
    max_tool_steps: int
    pending_context: PendingContext


class Step(TypedDict):
    """What one `act` gets: a call, the message that made it, and the action that waits for the caller's yes."""

    call: ModelToolCall
    message: AIMessage
    pending: Pending | None


Graph = CompiledStateGraph[State, Context, State, State]


def build_graph(saver: BaseCheckpointSaver[str]) -> Graph:
    graph = StateGraph(State, context_schema=Context)
    graph.add_node("listen", listen)
    graph.add_node("greet", greet)
    graph.add_node("think", think)
    graph.add_node("act", act)
    graph.add_node("ask", ask)
    graph.add_edge(START, "listen")
    graph.add_conditional_edges("listen", after_listening, ["greet", "think", END])
    graph.add_conditional_edges("think", after_thinking, ["act", "ask", END])
    graph.add_conditional_edges("act", after_acting, ["think", END])
    graph.add_edge("greet", END)
    graph.add_edge("ask", END)
    return graph.compile(checkpointer=saver)


async def listen(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    """Also speaks the lines of earlier tools that nobody could hear any more when they were due."""
    turn, pending_context = runtime.context.turn, runtime.context.pending_context
    actions = {name for name, tool in runtime.context.tools.items() if options_of(tool).changes_something}
    messages = history.listen(state["messages"], turn.request, pending_context, actions)
    for call in pending_context.late:
        for line in call.unspoken:
            turn.progress(line)
    return {"messages": Overwrite(messages), "pending": confirmation.heard(state.get("pending"), messages)}


async def after_listening(state: State, runtime: Runtime[Context]) -> str:
    """Silence is answered only by what it has interrupted: an answer, or a greeting of which nothing was heard."""
    request, messages = runtime.context.turn.request, state["messages"]
    if history.asks(messages, request):
        return "think"
    greeted = request.kind == "message" and any(isinstance(message, AIMessage) for message in messages)
    return END if greeted or not _welcome(state, runtime.context) else "greet"


async def greet(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    turn, welcome = runtime.context.turn, _welcome(state, runtime.context)
    id_ = history.reply_id(turn.request, state["messages"])
    turn.say(welcome, of=id_)
    return {"messages": [AIMessage(welcome, id=id_)]}


def _welcome(state: State, context: Context) -> str:
    return context.welcome_back if history.caller_has_spoken(state["messages"]) else context.welcome


async def think(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    messages, context = state["messages"], runtime.context
    if context.turn.interrupted or confirmation.only_asks(messages, state.get("pending")):
        return {}
    tools: list[BaseTool] = []
    if history.tool_steps(messages) < context.max_tool_steps:
        tools = [*context.tools.values(), *confirmation.tools(state.get("pending"))]
    id_ = history.reply_id(context.turn.request, messages)
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
    tool_call = ToolCall(key, call["id"] or "", tool, call["args"], state["message"])
    if tool_call.options.confirm:
        if fault := fault_in(tool, call["args"]):
            return {"messages": [tool_call.answer(fault, failed=True)]}
        return _pin(tool_call, may_ask=call == first_to_confirm(state["message"], context.tools))
    return {"messages": [await context.tool_runner.run(context.turn, tool_call)]}


async def after_acting(state: State, runtime: Runtime[Context]) -> str:
    """A goodbye that was said before the call is ended is enough."""
    turn = runtime.context.turn
    return END if turn.ends_call and turn.times_said else "think"


def _pin(tool_call: ToolCall, *, may_ask: bool) -> dict[str, Any]:
    """Answer the call with "not done yet"; the question is put at the end of the turn."""
    if not may_ask:
        return {"messages": [tool_call.answer(confirmation.ONE_AT_A_TIME, failed=True)]}
    question = tool_call.fill(tool_call.options.confirm or "")
    pending = confirmation.pin(
        key=tool_call.key,
        call=tool_call.answers,
        name=tool_call.tool.name,
        arguments=tool_call.arguments,
        question=question,
    )
    return {"messages": [tool_call.answer(confirmation.not_done_yet(question))], "pending": pending}


async def _confirm(step: Step, context: Context) -> dict[str, Any]:
    """The caller has said yes, or no, to the pinned call. It stays pinned when the turn was interrupted first."""
    call, pending = step["call"], step["pending"]
    tool = context.tools.get(pending["name"]) if pending and pending["heard"] else None
    if pending is None or tool is None:
        return {"messages": [confirmation.nothing_to_confirm(call)]}
    if call != first_call(step["message"], lambda call: call["name"] == CONFIRM):
        return {"messages": [confirmation.settled_already(call)]}
    settled = {} if context.turn.interrupted or first_to_confirm(step["message"], context.tools) else {"pending": None}
    if not call["args"].get("yes"):
        return {"messages": [confirmation.declined(call)], **settled}
    tool_call = ToolCall(pending["key"], call["id"] or "", tool, pending["arguments"], step["message"])
    return {"messages": [await context.tool_runner.run(context.turn, tool_call)], **settled}


async def ask(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    turn, pending = runtime.context.turn, state["pending"]
    if pending is None or turn.interrupted:
        return {"pending": None}
    id_ = history.reply_id(turn.request, state["messages"])
    turn.say(pending["question"], of=id_)
    return {"messages": [AIMessage(pending["question"], id=id_)], "pending": {**pending, "question_id": id_}}
