"""What a tool can do to the call: hang up, transfer it, send digits.

The platform carries it out when everything that was said before it has been heard, and not at all when the caller
speaks up first. Whether a platform can is in `tool_context().abilities`; a tool that is of no use without one says so:
`@voice_tool(needs="hang_up")`, and is not offered to the model elsewhere.
"""

from __future__ import annotations

import re

from agent.tooling.decorator import tool_context
from agent.turns import CallControl

_DIGITS = re.compile(r"[0-9*#wW]{1,64}")  # w: a pause of half a second
_NUMBER = re.compile(r"\+[1-9]\d{6,14}|sips?:[^\s@]+@[^\s@]+")


class NotSupported(RuntimeError):
    """The platform of this call cannot do it."""


def hang_up(reason: str = "") -> None:
    """End the call after the assistant's words. NotSupported where the platform cannot."""
    _control(CallControl("hang_up", reason=reason))


def transfer(to: str, reason: str = "") -> None:
    """Hand the call over after the assistant's words.

    to: a number in E.164 form (+493012345678) or a SIP address; ValueError when it is neither.
    reason: for the log, and for whoever takes over. NotSupported where the platform cannot.
    """
    if not _NUMBER.fullmatch(to):
        raise ValueError("transfer() takes a number such as +493012345678, or a SIP address")
    _control(CallControl("transfer", to, reason))


def send_dtmf(digits: str) -> None:
    """Press keys for the other side to hear, after the assistant's words: digits, * and #; `w` waits half a second.
    ValueError for anything else, NotSupported where the platform cannot."""
    if not _DIGITS.fullmatch(digits):
        raise ValueError("send_dtmf() takes up to 64 digits, * and #, and w for a pause")
    _control(CallControl("send_dtmf", digits))


def _control(control: CallControl) -> None:
    context = tool_context()
    if control.action not in context.abilities:
        raise NotSupported(f"the platform of this call cannot do this: {control.action}")
    context.control(control)
