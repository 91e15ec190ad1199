"""What the nodes of the graph work with: what is remembered of a conversation, and what is there for one turn."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Annotated, TypedDict

from langchain_core.messages import AnyMessage
from langchain_core.tools import BaseTool
from langgraph.graph.state import CompiledStateGraph

from agent.config import AgentConfig
from agent.llm import Models
from agent.memory import Pending, latest
from agent.storage import PendingContext
from agent.tooling import GatedCall, ToolRunner
from agent.turns import Turn


class State(TypedDict):
    """What a checkpoint holds of a conversation. before: what was pending when the newest turn began, as that turn may
    turn out to be a guess. language: in which it is held, once that is known."""

    messages: Annotated[list[AnyMessage], operator.add]
    pending: Annotated[Pending | None, latest]
    before: Pending | None
    language: str


@dataclass
class Context:
    """What the nodes of one turn work with. Not remembered. tools: those of the tool files. declared: with `confirm`,
    what the model may call. actions: the tools that change something. pending_context: what the memory does not know
    yet."""

    turn: Turn
    tools: dict[str, BaseTool]
    declared: dict[str, BaseTool]
    actions: set[str]
    models: Models
    tool_runner: ToolRunner
    prompt: str
    config: AgentConfig
    pending_context: PendingContext


class Step(TypedDict):
    """What one `act` gets: a call as it left the gate, and the action that waits for the caller's yes. asks: whether a
    call of the step puts a question. yes: what the step's calls of `confirm` come to."""

    call: GatedCall
    pending: Pending | None
    asks: bool
    yes: bool | None


Graph = CompiledStateGraph[State, Context, State, State]
