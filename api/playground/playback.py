"""What of an answer has been played by now: the stand-in's own clock, as clients do not tell it reliably (§7.3)."""

from __future__ import annotations

from dataclasses import dataclass

from agent.memory import whole_words


@dataclass(frozen=True)
class _Piece:
    text: str
    starts: float
    ends: float


class Playback:
    """Pieces of text in the order they are played, each with the seconds it takes. Times are the event loop's.

    A piece begins when it is there and the one before is over, so that pauses of the backend are pauses here.
    """

    def __init__(self) -> None:
        self._pieces: list[_Piece] = []
        self.ends_at = 0.0

    def add(self, text: str, seconds: float, now: float) -> None:
        starts = max(now, self.ends_at)
        self.ends_at = starts + seconds
        self._pieces.append(_Piece(text, starts, self.ends_at))

    def heard(self, now: float) -> str:
        """The whole words that have been played: a beginning of the text."""
        count, whole = 0, "".join(piece.text for piece in self._pieces)
        for piece in self._pieces:
            if now >= piece.ends:
                count += len(piece.text)
            elif now > piece.starts:
                count += int(len(piece.text) * (now - piece.starts) / (piece.ends - piece.starts))
        return whole_words(whole, count).rstrip()
