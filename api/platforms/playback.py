"""How much of an answer has been played, by the server's clock: clients do not report it reliably."""

from __future__ import annotations

from dataclasses import dataclass

from agent.memory import whole_words

SECONDS_PER_CHARACTER = 1 / 15  # about 170 words a minute


@dataclass(frozen=True)
class Piece:
    """A text, and from when to when it is played."""

    text: str
    starts: float
    ends: float


class Playback:
    """Pieces of text in the order they are played, each with its duration. Times are those of the event loop.

    A piece starts when it has arrived and the one before has ended. ends_at: when the last piece ends; 0 without one.
    """

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.ends_at = 0.0

    def add(self, text: str, seconds: float, now: float) -> None:
        starts = max(now, self.ends_at)
        self.ends_at = starts + seconds
        self.pieces.append(Piece(text, starts, self.ends_at))

    def heard(self, now: float) -> str:
        """The beginning of the text that has been played by `now`, in whole words."""
        count, whole = 0, "".join(piece.text for piece in self.pieces)
        for piece in self.pieces:
            if now >= piece.ends:
                count += len(piece.text)
            elif now > piece.starts:
                count += int(len(piece.text) * (now - piece.starts) / (piece.ends - piece.starts))
        return whole_words(whole, count).rstrip()
