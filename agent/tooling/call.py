"""One call of a tool: what is to be run, how it goes while it runs, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import BaseTool

from agent.json_values import replace_surrogates, to_json
from agent.languages import Texts
from agent.speech import speakable
from agent.tooling.arguments import Refused, validated, values_of
from agent.tooling.decorator import ToolOptions, fill, options_of
from agent.turns import CallControl, Marker, ToolCallStatus, Turn, tool_message

_LONGEST_LINE = 300  # characters that a tool may say at once
_LONGEST_SHOWN = 64_000  # characters of JSON that a tool may show at once
_MOST_DEEDS = 200  # lines and data of one call


@dataclass(frozen=True)
class ToolCall:
    """A call to be run. `key` is what it is once: the message that made it, and its id, which some providers count
    anew in each answer. `answers` is the id of the call in `message` that gets the result: its own, or that of the
    `confirm` call for a call that was pinned until then. `twins`: the ids of calls of its step that are the same."""

    key: str
    answers: str
    tool: BaseTool
    arguments: dict[str, Any]
    message: AIMessage
    twins: Sequence[str] = ()

    @property
    def options(self) -> ToolOptions:
        return options_of(self.tool)

    def question(self, language: str) -> str:
        """What the caller is asked before it is run; empty when they are not."""
        return self.fill(self.options.confirm or "", language)

    def fill(self, texts: Texts, language: str) -> str:
        """A text of the tool's options, with the call's arguments, or their defaults, in its braces."""
        return fill(texts, self.values, language)

    @property
    def values(self) -> dict[str, Any]:
        """The arguments as the tool gets them, and the defaults of those that are left out."""
        return values_of(self.tool, self.arguments)

    def answer(self, text: str, *, failed: bool = False, marker: Marker | None = None) -> ToolMessage:
        """The result under the name that was called, which is `confirm` for a pinned call."""
        called = next((c["name"] for c in self.message.tool_calls if c["id"] == self.answers), self.tool.name)
        return tool_message(text, call_id=self.answers, name=called, failed=failed, marker=marker)


@dataclass(frozen=True)
class ToolResult:
    """`ended`: how, where finished or failed does not say it; then the words are the system's."""

    text: str
    failed: bool
    ended: Literal["timed out", "stopped", "not started"] | None = None

    @property
    def state(self) -> str:
        """As the journal has it."""
        return "stopped" if self.ended == "stopped" else "failed" if self.failed else "finished"


@dataclass
class ToolRun:
    """A tool at work for a turn. `status` is what observers see of it; `outcome` is there once it is over."""

    tool_call: ToolCall
    turn: Turn
    status: ToolCallStatus
    outcome: ToolResult | None = None
    unspoken: list[str] = field(default_factory=list)
    progress: list[tuple[float, str, Any]] = field(default_factory=list)

    def report(self, status: str, **more: Any) -> None:
        """Tell the page how the call stands."""
        about = {
            "tool": self.tool_call.tool.name,
            "status": status,
            "call_id": self.tool_call.key,
            "ms": round(self.ms()),
        }
        self.turn.show({**about, **more})

    def show(self, data: Any) -> None:
        """The tool shows something, as it is now and as JSON has it. ValueError when it is too much."""
        data = to_json(data)
        if len(json.dumps(data)) > _LONGEST_SHOWN:
            raise ValueError(f"show() takes at most {_LONGEST_SHOWN} characters of JSON")
        if self._counts():
            self.progress.append((self.ms(), "show", data))
            self.turn.show(data)

    def say(self, line: str) -> None:
        """The tool says something. What cannot be spoken is left out, as of the model's words."""
        line = speakable(" ".join(replace_surrogates(str(line))[:_LONGEST_LINE].split()))
        if line and self._counts():
            self.progress.append((self.ms(), "say", line))
            self.speak(line)

    def control(self, control: CallControl) -> None:
        """The tool wants something to become of the call."""
        if self._counts():
            self.progress.append((self.ms(), "control", asdict(control)))
            self.turn.control(control)

    def _counts(self) -> bool:
        """Whether the tool may still say and show something: nothing grows without bound."""
        return len(self.progress) < _MOST_DEEDS

    def speak(self, line: str) -> None:
        if self.turn.silenced:
            self.unspoken.append(line)
        elif self.turn.progress(line):
            self.report("progress", text=line)

    def ms(self) -> float:
        """Since it began, to the microsecond: the order of what parallel calls do is kept by it."""
        return round((self.turn.now() - self.status.began) * 1000, 3)

    def end(self, outcome: ToolResult) -> None:
        self.outcome = outcome
        self.status.seconds = self.ms() / 1000
        self.status.ended = outcome.ended or ("failed" if outcome.failed else "finished")


def fault_in(tool: BaseTool, arguments: Mapping[str, Any]) -> str | None:
    """What is wrong with a call's arguments, in words for the model."""
    try:
        validated(tool, arguments)
    except Refused as why:
        return str(why)
    return None
