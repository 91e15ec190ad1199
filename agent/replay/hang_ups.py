"""Replaying a run with a hang-up after each of its events, and what must hold every time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.messages import SystemMessage

from agent.memory import repair
from agent.replay import run_file as runs
from agent.replay.remembered import is_within, words_shown
from agent.turns import Turn

_QUESTION = "Hello?"
_REPLY = "Here I am."

Follow = Callable[[runs.Webhook, str], Mapping[str, Any]]  # (webhook, the next words): the next one's ids


def interrupted_everywhere(run: runs.RunFile, follow: Follow, after: int) -> Iterator[tuple[str, runs.RunFile]]:
    """For each event of each message's turn: the run up to there, a hang-up, and one more question. follow: gives what
    names the request for it. after: ms until it is asked."""
    for number, turn in enumerate(run.turns):
        if turn.webhook["kind"] != "message":
            continue
        for events in range(len(turn.sent) + 1):
            ms = turn.sent[events - 1][0] if events else 0
            frames = [frame for frame in turn.frames if frame[1] == "in" and frame[0] <= 0]
            cut = turn.model_copy(update={"hung_up": runs.HungUp(events=events, ms=ms), "frames": frames})
            label = f"turn {number + 1}, after {events} events"
            yield (
                label,
                run.model_copy(update={"turns": [*run.turns[:number], cut, _question(turn, ms + after, follow)]}),
            )


def _question(turn: runs.RecordedTurn, ms: int, follow: Follow) -> runs.RecordedTurn:
    answer = runs.RecordedModelCall(chunks=[[0, _REPLY]])
    webhook: Any = {"kind": "message", "conversation_id": turn.webhook["conversation_id"], "text": _QUESTION}
    webhook |= follow(turn.webhook, _QUESTION)
    return runs.RecordedTurn(at=turn.at + ms, webhook=webhook, models=[answer])


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
