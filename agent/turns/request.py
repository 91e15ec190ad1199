"""What a turn is asked: the caller's words, and what the platform reports of the turn before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["message", "welcome", "silence"]
HeardKind = Literal["exact", "fragment", "derived"]
Speaker = Literal["caller", "agent"]
Key = tuple[str, str, str]  # of a request, and of its turn: conversation, turn, kind


@dataclass(frozen=True)
class HeardReport:
    """What the caller heard of an earlier turn before interrupting it.

    turn_id: the interrupted turn; None for the one before this.
    text: as the platform understood it: words right, case and punctuation perhaps not. May be empty.
    kind: `exact`: all that was heard, from the beginning. `fragment`: the last of it; it may begin anywhere in the
        answer. `derived`: the answer as the platform remembers it; it counts only when the answer begins with it.
    """

    text: str
    turn_id: str | None = None
    kind: HeardKind = "exact"


@dataclass(frozen=True)
class Summary:
    """Stands for the messages before `until`, which is the id of a message of the caller's."""

    text: str
    until: str


@dataclass(frozen=True)
class TurnRequest:
    """One request for a turn. (conversation_id, turn_id, kind) identifies it: the same again is a duplicate.

    abilities: what the platform can do to the call when a tool asks for it (`CallAction`).
    platform: over which the request came, by its name; empty: not told.
    frames: for replay: what the platform has sent since the turn before that is not in the other fields, and what
        began this one: (ms before it began, as 0 or less; the frame).
    place: where the platform may send a request on a guess that the caller has finished, and another one instead:
        what all of these have in common, the beginning of their turn ids. Empty: every request is meant.
    answered: the caller's words before these, to which `heard` is the answer; None: not told.
    line: for `silence`, when the caller has said nothing for a while: what is said to them, a text for every language
        or for each.
    instructions: of the platform's, put behind the prompt.
    language: in which the caller speaks, as the platform tells it; empty where it does not.
    resume: the platform asks again only for an answer that did not come through: if the turn was interrupted or has
        failed, or another one has taken its place since, it is run once more. What its tools have done stands.
    before: what was said before, as (who, text), of a request that is all there is of its conversation: nothing of it
        is kept afterwards, and no tool that changes something is offered in it. None: the conversation is remembered.
    """

    conversation_id: str
    turn_id: str
    kind: Kind = "message"
    text: str = ""
    heard: HeardReport | None = None
    caller: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    abilities: frozenset[str] = frozenset()
    place: str = ""
    answered: str | None = None
    language: str = ""
    instructions: str = ""
    line: str | Mapping[str, str] = ""
    platform: str = ""
    frames: Sequence[tuple[int, Mapping[str, Any]]] = ()
    resume: bool = False
    before: Sequence[tuple[Speaker, str]] | None = None

    @property
    def key(self) -> Key:
        return self.conversation_id, self.turn_id, self.kind

    @property
    def stateless(self) -> bool:
        return self.before is not None
