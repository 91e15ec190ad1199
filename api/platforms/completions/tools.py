"""The clients' own tools that do something to the call."""

from __future__ import annotations

from typing import Literal

# Their names, by what they do to the call, and the argument that takes the value.
TOOLS: dict[str, tuple[Literal["hang_up", "transfer", "send_dtmf"], str | None]] = {
    "end_call": ("hang_up", None),
    "endCall": ("hang_up", None),
    "transferCall": ("transfer", "destination"),
    "transfer_call": ("transfer", "destination"),
    "transfer_to_number": ("transfer", "transfer_number"),
    "dtmf": ("send_dtmf", "dtmf"),
    "play_keypad_touch_tone": ("send_dtmf", "dtmf_tones"),
}
