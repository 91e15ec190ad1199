"""The chat model that a name stands for.

`google_genai:gemini-3.5-flash-lite` is Gemini; any other string is given to `init_chat_model`; `demo` needs no key.
"""

from __future__ import annotations

from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr

_KEYS = ("GOOGLE_GENERATIVE_AI_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY")


class ModelError(Exception):
    """The model cannot be used as configured. The text is one sentence for the operator."""


def load_model(
    name: str, *, google_api_key: str | None = None, google_base_url: str | None = None, gemini_fast: bool = True
) -> BaseChatModel:
    """The chat model that `name` stands for: `demo`, `gemini-…` with or without `google_genai:` before it, or
    anything `init_chat_model` takes. ModelError when it is unknown, not installed or lacks its key."""
    if name == "demo":
        from agent.llm.demo import DemoModel

        return DemoModel()
    provider, _, model = name.rpartition(":")
    if model and (provider == "google_genai" or name.startswith("gemini-")):
        return _gemini(model, google_api_key, google_base_url, gemini_fast)
    from langchain.chat_models import init_chat_model

    try:
        made: BaseChatModel = init_chat_model(name)
    except ImportError as error:
        raise ModelError(f"MODEL={name} needs a package that is not installed: {error}") from error
    except Exception as error:
        raise ModelError(
            f"MODEL={name} cannot be used ({str(error).splitlines()[0].rstrip('.')}): name the provider too, as in"
            " google_genai:gemini-3.5-flash-lite, and set its key."
        ) from error
    return made


def _gemini(model: str, api_key: str | None, base_url: str | None, fast: bool) -> BaseChatModel:
    """Retries are ours, not the client's: its own cost seconds of silence (1 means none, 0 the default 6)."""
    if not api_key:
        raise ModelError(f"The model has no key: set {_KEYS[0]}, or MODEL=demo to run without a language model.")
    from langchain_google_genai import ChatGoogleGenerativeAI

    from agent.llm.gemini.chat_model import Gemini
    from agent.llm.gemini.transport import Transport

    return (Gemini if fast else ChatGoogleGenerativeAI)(
        model=model,
        google_api_key=SecretStr(api_key),
        base_url=base_url,
        max_retries=1,
        client_args={"transport": Transport()},
    )
