"""Simulated calls: a scenario's caller talks to the real application, and what must hold is checked.

May import: replay, platforms, wiring. Open first: scenario.py, which is the schema of a file; then simulation.py.
"""

from __future__ import annotations

from api.simulate.assertions import Expectation
from api.simulate.ci import to_json, to_junit
from api.simulate.conversation import Conversation, Exchange, now
from api.simulate.draft import draft
from api.simulate.html import to_html
from api.simulate.judge import Judge, JudgeError, ModelJudge, ScriptedJudge, judge
from api.simulate.judge_check import check_judge, pairs
from api.simulate.rates import Rate, chance
from api.simulate.report import failure, report
from api.simulate.row import Row
from api.simulate.runner import Held, hold_all
from api.simulate.scenario import Scenario
from api.simulate.scenario_file import ScenarioError, load_scenario, read_scenario
from api.simulate.script import call_chunks, word_chunks
from api.simulate.simulation import Result, Setup, run_file_of, simulate
from api.simulate.transcript import transcript
from api.simulate.verdict import Verdict

__all__ = [
    "Conversation",
    "Exchange",
    "Expectation",
    "Held",
    "Judge",
    "JudgeError",
    "ModelJudge",
    "Rate",
    "Result",
    "Row",
    "Scenario",
    "ScenarioError",
    "ScriptedJudge",
    "Setup",
    "Verdict",
    "call_chunks",
    "chance",
    "check_judge",
    "draft",
    "failure",
    "hold_all",
    "judge",
    "load_scenario",
    "now",
    "pairs",
    "read_scenario",
    "report",
    "run_file_of",
    "simulate",
    "to_html",
    "to_json",
    "to_junit",
    "transcript",
    "word_chunks",
]
