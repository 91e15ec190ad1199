"""Calls: when one begins and ends, and telling the hooks `call_ended` of tool files of it.

May import: tooling, memory, storage, turns. Open first: reports.py. table.py keeps what is known of each call,
record.py makes of the journal what a hook gets.
"""

from __future__ import annotations

from agent.calls.record import HOW_ENDED
from agent.calls.reports import Calls, CallTimes

__all__ = ["HOW_ENDED", "CallTimes", "Calls"]
