"""Replaying a run with a hang-up after each of its events, and what must hold every time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from langchain_core.messages import SystemMessage

from agent.memory import repair
from agent.replay import run_file as runs
from agent.replay.remembered import is_within, words_shown
from agent.turns import Turn

_AFTER = 2_000  # ms between the hang-up and the caller's next words
_REPLY = "Here I am."


def interrupted_everywhere(run: runs.RunFile) -> Iterator[tuple[str, runs.RunFile]]:
    """For each event of each message's turn: the run up to there, a hang-up, and one more question."""
    for number, turn in enumerate(run.turns):
        if turn.webhook["kind"] != "message":
            continue
        for events in range(len(turn.sent) + 1):
            ms = turn.sent[events - 1][0] if events else 0
            cut = turn.model_copy(update={"hung_up": runs.HungUp(events=events, ms=ms)})
            label = f"turn {number + 1}, after {events} events"
            yield label, run.model_copy(update={"turns": [*run.turns[:number], cut, _question(turn, ms)]})


def _question(turn: runs.RecordedTurn, ms: int) -> runs.RecordedTurn:
    webhook = {"kind": "message", "conversation_id": turn.webhook["conversation_id"], "turn_id": "after-the-hang-up"}
    answer = runs.RecordedModelCall(chunks=[[0, _REPLY]])
    return runs.RecordedTurn(at=turn.at + ms + _AFTER, webhook={**webhook, "text": "Hello?"}, models=[answer])


def broken(cut: runs.RecordedTurn, received: str, question: Turn, answer: str, ran: Sequence[str]) -> Iterator[str]:
    """What does not hold, in words. received: what the caller had heard of the cut turn; question: the turn after
    it, answer: its words; ran: the key of every tool run."""
    if _REPLY not in answer:
        yield "the next turn was not answered"
    if len(set(ran)) != len(ran):
        yield f"a tool call ran twice: {sorted(key for key in ran if ran.count(key) > 1)[0]}"
    if not question.model_calls:
        return
    shown = [m for m in question.model_calls[0].messages if not isinstance(m, SystemMessage)]
    if repair(shown) != shown:
        yield "the model was shown an invalid history"
    remembered = words_shown(shown, cut.webhook["turn_id"])
    if not is_within(remembered, received.split()):
        yield f"remembered is {' '.join(remembered)!r}, but heard was {received.strip()!r}"
