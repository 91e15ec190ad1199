"""What a turn takes the place of in the memory: an earlier run of itself, and a guess at what the caller would say."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from agent.turns import HeardReport, TurnRequest, marker_of, without_note_marks, words_behind_notes

_NOT_RUN = ("not started", "not run")  # markers of calls that have done nothing
_ENOUGH = 40  # characters by which an answer is recognised


def human_id(request: TurnRequest) -> str:
    return f"{request.kind}:{request.turn_id}"


def without_guess(messages: list[AnyMessage], request: TurnRequest, actions: Collection[str]) -> list[AnyMessage]:
    """Without an earlier run of this turn, which begins anew with what the journal has of its calls. And without the
    last turn, if it was a guess in the place of this one: its words were not what the caller meant. One that a tool has
    acted in, or of which the platform remembers the answer, was meant."""
    messages = _without_turn(messages, human_id(request))
    if not request.place:
        return messages
    at = max((i for i, m in enumerate(messages) if isinstance(m, HumanMessage)), default=0)
    turn = messages[at:]
    was_guess = turn and (turn[0].id or "").partition(":")[2].startswith(request.place)
    if not was_guess:
        return messages
    remembered = request.heard is not None and _is_remembered(turn, request.heard, request.answered)
    acted = any(isinstance(m, ToolMessage) and m.name in actions and marker_of(m) not in _NOT_RUN for m in turn)
    return messages if remembered or acted else messages[:at]


def _without_turn(messages: list[AnyMessage], id_: str) -> list[AnyMessage]:
    """Without these words of the caller's, and what followed them."""
    begins = next((i for i, m in enumerate(messages) if m.id == id_), len(messages))
    ends = next((i for i, m in enumerate(messages) if i > begins and isinstance(m, HumanMessage)), len(messages))
    return messages[:begins] + messages[ends:]


def _is_remembered(turn: Sequence[AnyMessage], report: HeardReport, answered: str | None) -> bool:
    """Whether the report is of this turn, by its answer, and by the words that it has answered where they are told."""
    answer = "".join(m.text for m in turn if isinstance(m, AIMessage) and not m.tool_calls)
    if not answer or not answer.startswith(report.text.strip()[:_ENOUGH]):
        return False
    return answered is None or words_behind_notes(turn[0].text) == without_note_marks(answered).strip()
