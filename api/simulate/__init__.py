"""Simulated calls: a scenario's caller talks to the real application, and what must hold is checked.

May import: replay, platforms, wiring. Open first: scenario.py, which is the schema of a file; then simulation.py.
"""

from __future__ import annotations

from api.simulate.conversation import Conversation, Exchange
from api.simulate.report import Row, outcome, report, to_json, to_junit
from api.simulate.scenario import Scenario
from api.simulate.scenario_file import ScenarioError, load_scenario, read_scenario
from api.simulate.simulation import Result, simulate
from api.simulate.transcript import transcript

__all__ = [
    "Conversation",
    "Exchange",
    "Result",
    "Row",
    "Scenario",
    "ScenarioError",
    "load_scenario",
    "outcome",
    "read_scenario",
    "report",
    "simulate",
    "to_json",
    "to_junit",
    "transcript",
]
