"""The language model: loading it by name, asking it within time limits, retries, the fallback, the circuit breaker.

May import: turns, speech. Open first: answer.py. Gemini's fast path is in gemini/, which is imported only when Gemini
is configured.
"""

from __future__ import annotations

from agent.llm.answer import ModelError, Models, load_model
from agent.llm.attempts import ModelCandidate, status_of

__all__ = ["ModelCandidate", "ModelError", "Models", "load_model", "status_of"]
