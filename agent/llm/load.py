"""The chat model that a name stands for.

`google_genai:gemini-3.5-flash-lite` is Gemini; any other string is given to `init_chat_model`; `demo` needs no key.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from pydantic import BaseModel, SecretStr, ValidationError

from agent.llm.providers import provider_of
from agent.llm.thinking import thinking_options

if TYPE_CHECKING:
    from langchain_google_genai import ChatGoogleGenerativeAI

_KEYS = ("GOOGLE_GENERATIVE_AI_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY")
_SET_HERE = {"model", "model_provider"}
_SET_FOR_GEMINI = {*_SET_HERE, "api_key", "google_api_key", "base_url", "client_args", "max_retries"}
_NO_RETRIES = ("openai", "anthropic")  # the clients of which 0 retries can be asked
_THINKING = ("thinking_level", "reasoning_effort", "thinking_budget", "thinking_config", "include_thoughts")


class ModelError(Exception):
    """The model cannot be used as configured. The text is one sentence for the operator."""


def load_model(
    name: str,
    *,
    google_api_key: str | None = None,
    google_base_url: str | None = None,
    gemini_fast: bool = True,
    thinking: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> BaseChatModel:
    """The chat model that `name` stands for: `demo`, `gemini-…` with or without `google_genai:` before it, or
    anything `init_chat_model` takes. ModelError when it is unknown, not installed or lacks its key.

    thinking: how long it may think, as its provider calls it. options: further arguments for its class.
    """
    if name == "demo":
        from agent.llm.demo import DemoModel

        return DemoModel()
    provider, _, model = name.rpartition(":")
    is_gemini = bool(model) and (provider == "google_genai" or name.startswith("gemini-"))
    if wrong := (_SET_FOR_GEMINI if is_gemini else _SET_HERE) & (options or {}).keys():
        raise ModelError(f"MODEL_OPTIONS cannot set {' and '.join(sorted(wrong))}: there are settings of their own.")
    if is_gemini:
        return _gemini(model, google_api_key, google_base_url, gemini_fast, thinking, options or {})
    return _by_name(name, thinking, options or {})


def _by_name(name: str, thinking: str | None, options: Mapping[str, Any]) -> BaseChatModel:
    made = _initialised(name, options)
    more: dict[str, Any] = {}
    if "max_retries" not in options and provider_of(made) in _NO_RETRIES:
        more["max_retries"] = 0  # retries are ours: the client's own would be silence
    if thinking is not None:
        if "reasoning_effort" not in type(made).model_fields:
            raise ModelError(f"MODEL_THINKING is not known to {name}: set what its class takes in MODEL_OPTIONS.")
        more["reasoning_effort"] = thinking
    return _initialised(name, {**options, **more}) if more else made


def _initialised(name: str, options: Mapping[str, Any]) -> BaseChatModel:
    from langchain.chat_models import init_chat_model

    try:
        made: BaseChatModel = init_chat_model(name, **options)
    except ImportError as error:
        raise ModelError(f"MODEL={name} needs a package that is not installed: {error}") from error
    except Exception as error:
        raise ModelError(
            f"MODEL={name} cannot be used ({str(error).splitlines()[0].rstrip('.')}): name the provider too, as in"
            " google_genai:gemini-3.5-flash-lite, and set its key."
        ) from error
    return made


def _gemini(
    model: str,
    api_key: str | None,
    base_url: str | None,
    fast: bool,
    thinking: str | None,
    options: Mapping[str, Any],
) -> BaseChatModel:
    """Retries are ours, not the client's: its own cost seconds of silence (1 means none, 0 the default 6)."""
    if not api_key:
        raise ModelError(f"The model has no key: set {_KEYS[0]}, or MODEL=demo to run without a language model.")
    from agent.llm.gemini.chat_model import Gemini
    from agent.llm.gemini.library import GeminiClient
    from agent.llm.gemini.transport import Transport

    kind = Gemini if fast else GeminiClient
    _check_names(options, kind)
    try:
        made: GeminiClient = kind(
            **options,
            model=model,
            google_api_key=SecretStr(api_key),
            base_url=base_url,
            max_retries=1,
            client_args={"transport": Transport()},
        )
    except ValidationError as error:
        fault = error.errors()[0]
        what = ".".join(map(str, fault["loc"]))
        raise ModelError(f"MODEL_OPTIONS: {what}{': ' if what else ''}{fault['msg']}.") from error
    if thinking is not None or options.keys().isdisjoint(_THINKING):
        _set_thinking(made, model, thinking)
    return made


def _check_names(options: Mapping[str, Any], kind: type[BaseModel]) -> None:
    """The library only warns of names that it does not know."""
    known = {name for field, about in kind.model_fields.items() for name in (field, about.alias) if name}
    for name in options.keys() - known:
        near = get_close_matches(name, known, n=1)
        raise ModelError(f"MODEL_OPTIONS: Gemini has no {name}{f', but {near[0]}' if near else ''}.")


def _set_thinking(made: ChatGoogleGenerativeAI, model: str, thinking: str | None) -> None:
    try:
        options = thinking_options(model, dict(made.profile or {}), thinking)
    except ValueError as error:
        raise ModelError(f"MODEL_THINKING={thinking} is not known to {model}, which takes {error}.") from error
    for field, value in options.items():
        setattr(made, field, value)
