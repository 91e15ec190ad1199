"""The state machine of a turn.

    listen ─┬─▶ greet ──────────────────────────────────────▶ end
            ├─▶ think ─┬─▶ gate ▶ act (one for each call) ─▶ think …
            │          ├─▶ ask ─────────────────────────────▶ end
            │          └────────────────────────────────────▶ end
            └───────────────────────────────────────────────▶ end

listen  brings the memory up to date with what was heard and done since, and adds the caller's words
greet   speaks first, also when the caller comes back, or has said nothing for a while
think   asks the model; its words are spoken as they stream
gate    lets through the calls that can be run, and says of the others why not (agent/tooling/gate.py)
act     runs one tool call, or answers it; the calls of one step run side by side
ask     puts the question of a call that must be confirmed

An interruption is not an exception here: every node ends early and normally, so that the run ends at a valid
checkpoint. One checkpoint is written, at the end (`durability="exit"`); what a crash would lose until then is
in the journal. A node says itself where it goes on (`Command`), as an edge with a condition would read the state once
more. Every node is `async`: LangGraph gives others to a thread.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command, Overwrite, Send

from agent.languages import own_line, told_to_model
from agent.memory import CONFIRM, Pending, Shown, all_in_words, confirmation, found, given, history, without_guess
from agent.state import Context, Graph, State, Step
from agent.tooling import ToolCall, through_gate, with_names, without_calls


def build_graph(saver: BaseCheckpointSaver[str]) -> Graph:
    graph = StateGraph(State, context_schema=Context)
    graph.add_edge(START, "listen")
    graph.add_node("listen", listen, destinations=("greet", "think", END))
    graph.add_node("greet", greet)
    graph.add_node("think", think, destinations=("act", "ask", END))
    graph.add_node("act", act)
    graph.add_edge("act", "think")
    graph.add_node("ask", ask)
    return graph.compile(checkpointer=saver)


async def listen(state: State, runtime: Runtime[Context]) -> Command[str]:
    """Also speaks the lines of earlier tools that nobody could hear any more when they were due."""
    turn, pending_context = runtime.context.turn, runtime.context.pending_context
    known = state["messages"] or given(turn.request)
    messages = history.listen(known, turn.request, pending_context, runtime.context.actions)
    for call in pending_context.late:
        for line in call.unspoken:
            turn.progress(line)
    turn.language = turn.language or state.get("language", "")
    meant = without_guess(state["messages"], turn.request, runtime.context.actions)
    was_guess = len(meant) < len(state["messages"])
    before = state.get("before") if was_guess else state.get("pending")
    pending = confirmation.heard(before, messages)
    update = {"messages": Overwrite(messages), "pending": pending, "before": before, "language": turn.language}
    return Command(update=update, goto=_after_listening(messages, runtime.context))


def _after_listening(messages: list[AnyMessage], context: Context) -> str:
    """Silence is answered only by what it has interrupted: an answer, or a greeting of which nothing was heard."""
    request = context.turn.request
    if history.asks(messages, request):
        return "think"
    greeted = request.kind == "message" and any(isinstance(message, AIMessage) for message in messages)
    return END if greeted or not _first_words(messages, context) else "greet"


async def greet(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    turn, welcome = runtime.context.turn, _first_words(state["messages"], runtime.context)
    id_ = history.reply_id(turn.request, state["messages"])
    turn.say(welcome, of=id_)
    return {"messages": [AIMessage(welcome, id=id_)]}


def _first_words(messages: list[AnyMessage], context: Context) -> str:
    if context.turn.request.kind == "silence":
        return own_line(context.turn.request.line, context.turn.speaks)
    back = history.caller_has_spoken(messages)
    return own_line(context.config.welcome_back if back else context.config.welcome, context.turn.speaks)


async def think(state: State, runtime: Runtime[Context]) -> Command[str]:
    messages, pending, context = state["messages"], state.get("pending"), runtime.context
    if context.turn.ends_call and context.turn.times_said:  # a goodbye that was said before the call is ended is enough
        return Command(goto=END)
    ends = context.turn.interrupted or confirmation.only_asks(messages, pending)
    answer, known = ([], messages) if ends else await _answer(messages, context)
    added = answer if known is messages else Overwrite([*known, *answer])
    update = {"messages": added, "language": context.turn.language}  # the model may have told another one
    return Command(update=update, goto=await _after_thinking((answer or messages)[-1], pending, context))


async def _answer(messages: list[AnyMessage], context: Context) -> tuple[list[AIMessage], list[AnyMessage]]:
    """The model's answer, and the memory that it was asked with. At the limit of tool steps the tools stay declared,
    and cannot be called."""
    turn, declared = context.turn, context.declared
    fit = history.repair(messages)
    turn.repaired |= fit != messages
    ask = "" if turn.request.language else turn.speaks
    shown = Shown(told_to_model(context.prompt, turn.language, ask=ask), fit, declared)
    may_call = history.tool_steps(messages) < context.config.max_tool_steps
    answer = await context.models.answer(
        turn,
        shown.messages,
        [*declared.values()],
        history.reply_id(turn.request, messages),
        may_call=may_call,
        admit=partial(with_names, tools=declared) if may_call else without_calls,
        retell=shown.retell,
        instead=found(messages, context.actions, turn.speaks),
    )
    retold = answer and shown.retold and not turn.failed
    return answer, all_in_words(messages) if retold else messages


async def _after_thinking(message: AnyMessage, pending: Pending | None, context: Context) -> list[Send] | str:
    if not (isinstance(message, AIMessage) and message.tool_calls):
        return "ask" if pending and not pending["question_id"] else END
    check = partial(context.tool_runner.check, context.turn)
    calls = await through_gate(message, context.declared, check, partial(confirmation.why_not_asked, pending))
    asks = any(call.asks for call in calls)
    yes = confirmation.answer_of([call.arguments for call in calls if call.name == CONFIRM and not call.refused])
    return [Send("act", Step(call=call, pending=pending, asks=asks, yes=yes)) for call in calls]


async def act(state: Step, runtime: Runtime[Context]) -> dict[str, Any]:
    context, call = runtime.context, state["call"]
    if call.refused:
        return {"messages": call.answers(call.refused, failed=True)}
    if call.name == CONFIRM:
        return await _confirm(state, context)
    if call.asks:
        question = call.tool_call.question(context.turn.speaks)
        pending = confirmation.pin(state["pending"], call.key, call.id, call.name, call.arguments, question)
        return {"messages": call.answers(confirmation.not_done_yet(question)), "pending": pending}
    return {"messages": call.share(await context.tool_runner.run(context.turn, call.tool_call))}


async def _confirm(step: Step, context: Context) -> dict[str, Any]:
    """The caller has said yes, or no, to the pinned call. It stays pinned when the turn was interrupted first."""
    call, pending = step["call"], step["pending"]
    tool = context.tools.get(pending["name"]) if pending and pending["heard"] else None
    if pending is None or tool is None or step["yes"] is None:
        return {"messages": call.answers(confirmation.not_confirmed(tool), failed=True)}
    settled = {} if context.turn.interrupted or step["asks"] else {"pending": None}
    if not step["yes"]:
        return {"messages": call.answers(confirmation.DECLINED), **settled}
    pinned = ToolCall(pending["key"], call.id, tool, pending["arguments"], call.message, call.twins)
    return {"messages": call.share(await context.tool_runner.run(context.turn, pinned)), **settled}


async def ask(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    turn, pending = runtime.context.turn, state["pending"]
    if pending is None or turn.interrupted:
        return {"pending": None}
    id_ = history.reply_id(turn.request, state["messages"])
    turn.say(pending["question"], of=id_)
    return {"messages": [AIMessage(pending["question"], id=id_)], "pending": {**pending, "question_id": id_}}
