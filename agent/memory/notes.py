"""The system notes of a conversation: what the model is told of it that nobody has said.

Their form is made in agent/turns/notes.py. What they quote comes from others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from agent.storage import NEWEST_NOTES, PendingContext, ToolCallRecord
from agent.turns import Summary, system_note, was_interrupted

CALL_BEGINS = system_note("The call begins.")
CALLER_IS_BACK = system_note("The caller is back: a new call begins.")
GO_ON = system_note("They said nothing that could be understood. Go on with what they have not heard.")
SILENCE = system_note("The caller says nothing.")

_DATA_SHOWN = 4_000  # characters of the data that a page sent at once


def last_turn(messages: Sequence[AnyMessage]) -> Sequence[AnyMessage]:
    """The messages after the caller's last one."""
    for position in range(len(messages) - 1, -1, -1):
        if isinstance(messages[position], HumanMessage):
            return messages[position + 1 :]
    return messages


def summary(made: Summary) -> str:
    return system_note(f"Summary of the conversation before this: {made.text}")


def not_ended(own: str, ours: str) -> str:
    """In the place of the sentence that ended an answer for the model, such as the apology. own: the model's words
    before it. ours: what was heard of the sentence."""
    came = "Your answer broke off there." if own else "You gave no answer here."
    heard = f' The system said to the caller: "{ours}"' if ours else ""
    return system_note(f"{came}{heard}")


def interruption(messages: Sequence[AnyMessage], unheard: bool) -> Iterator[str]:
    """A note when the last turn, or a greeting since, did not come to its end in the caller's ear. `unheard`: an
    answer was removed."""
    welcomes = [m for m in messages if isinstance(m, HumanMessage) and (m.id or "").startswith("welcome:")]
    messages = [m for m in messages if m not in welcomes]
    turn, greeted = last_turn(messages), {(m.id or "").partition(":")[2] for m in welcomes}
    own = [m for m in turn if not (isinstance(m, AIMessage) and (m.id or "").rpartition("/")[0] in greeted)]
    nothing_asked = len(turn) == len(messages)
    answered = isinstance(own[-1], AIMessage) if own else nothing_asked
    ends = [*own[-1:], *(m for m in turn if m not in own)]
    if not messages or (answered and not unheard and not any(map(was_interrupted, ends))):
        return
    tools = ", ".join(dict.fromkeys(m.name or "a tool" for m in turn if isinstance(m, ToolMessage)))
    if answered:
        untold = f" They may not know the whole result of: {tools}." if tools else ""
        yield system_note(f"The caller interrupted you and heard only the words above.{untold}")
    else:
        untold = f" They do not know the result of: {tools}." if tools else ""
        yield system_note(f"The caller went on before hearing an answer.{untold}")


def late(calls: Sequence[ToolCallRecord]) -> Iterator[str]:
    finished, unknown = (
        ", ".join(dict.fromkeys(call.name for call in calls if (call.result is None) is lost)) for lost in (False, True)
    )
    if finished:
        yield system_note(f"Finished meanwhile: {finished}. The result stands above; the caller has not heard it.")
    if unknown:
        yield system_note(f"The system was restarted while this ran: {unknown}. The caller does not know.")


def page_data(pending_context: PendingContext) -> Iterator[str]:
    for note in pending_context.notes[-NEWEST_NOTES:]:
        yield system_note(f"The caller's page sent this data: {note.body[:_DATA_SHOWN]}")
