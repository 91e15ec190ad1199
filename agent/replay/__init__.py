"""Recorded runs: the file format, export from the journal, comparison, stand-ins for model and tools, virtual time.

May import: everything below the conversation. Open first: run_file.py.
"""

from __future__ import annotations

from agent.replay import run_file
from agent.replay.compare import Difference, differences, report, timeless
from agent.replay.export import export_run
from agent.replay.hang_ups import broken, interrupted_everywhere
from agent.replay.inspection import inspect, tools_found
from agent.replay.live_models import in_real_time
from agent.replay.remembered import prompt_of, remembered_otherwise
from agent.replay.run_file import save_run
from agent.replay.simulated_tools import Answer, Performed, SimulatedTools, ToolBreaks, ToolFailure
from agent.replay.stand_ins import Progress, RecordedModel, RecordedTools, ScriptedModel
from agent.replay.virtual_time import Stalled, TookTooLong, VirtualTimeLoop, real_time, run_in_virtual_time

__all__ = [
    "Answer",
    "Difference",
    "Performed",
    "Progress",
    "RecordedModel",
    "RecordedTools",
    "ScriptedModel",
    "SimulatedTools",
    "Stalled",
    "TookTooLong",
    "ToolBreaks",
    "ToolFailure",
    "VirtualTimeLoop",
    "broken",
    "differences",
    "export_run",
    "in_real_time",
    "inspect",
    "interrupted_everywhere",
    "prompt_of",
    "real_time",
    "remembered_otherwise",
    "report",
    "run_file",
    "run_in_virtual_time",
    "save_run",
    "timeless",
    "tools_found",
]
