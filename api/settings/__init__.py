"""The one place that reads the environment: variables first, then `.env`.

The descriptions of the fields are the documentation: `uv run poe docs` writes docs/settings.md and the first part of
.env.example from them. Each module has the fields of one section; settings.py puts them together.

Tools have settings of their own, which they read when they are called; what stands in `.env` is exported for
them, and for libraries such as LangSmith's.
"""

from api.settings.errors import NotConfigured, collected
from api.settings.secrets import new_secret
from api.settings.settings import SECTIONS, Settings

__all__ = ["SECTIONS", "NotConfigured", "Settings", "collected", "new_secret"]
