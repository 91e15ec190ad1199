"""The language model: loading it by name, asking it within time limits, retries, the fallback, the circuit breaker.

May import: turns, speech. Open first: answer.py. Gemini's fast path is in gemini/, which is imported only when Gemini
is configured.
"""

from __future__ import annotations

from agent.llm.answer import Models
from agent.llm.attempts import ModelCandidate, status_of
from agent.llm.load import ModelError, load_model
from agent.llm.structured import NoStructuredAnswer, StructuredModel, Usage

__all__ = [
    "ModelCandidate",
    "ModelError",
    "Models",
    "NoStructuredAnswer",
    "StructuredModel",
    "Usage",
    "load_model",
    "status_of",
]
