"""From settings to a running agent: the same for the server and for the terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from agent import tooling
from agent.agent import Agent, open_agent
from agent.calls import CallTimes
from agent.config import PROMPT_FILE, AgentConfig
from agent.llm import ModelError, Models, StructuredModel, load_model
from agent.storage import DatabaseError, Storage, is_shared, open_storage
from agent.tooling import McpFileError, ServerConfig, ToolFileError, ToolFolder
from agent.turns import Observer
from api.settings import NotConfigured, Settings, collected

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AgentParts:
    """What an agent is made of, checked. servers: the MCP servers by name, not yet asked."""

    folder: ToolFolder
    models: Models
    config: AgentConfig
    servers: Mapping[str, ServerConfig] = field(default_factory=dict)


def tool_folder(settings: Settings, *, gemini: bool | None = None) -> ToolFolder:
    """The folder of tools, not yet read. Each tool is declared to Gemini's client when it is read, if Gemini is
    configured, or as `gemini` says: the client takes a second to import."""
    if gemini is None:
        names = (settings.model, settings.model_fallback or "")
        gemini = any(name.startswith(("google_genai:", "gemini-")) for name in names)
    if not gemini:
        return ToolFolder(settings.tools_dir)
    from agent.llm.gemini.declaration import declaration

    return ToolFolder(settings.tools_dir, declaration)


def load_parts(settings: Settings, *, reload_tools: bool = False, folder: ToolFolder | None = None) -> AgentParts:
    """Read tools, prompt and model. NotConfigured has everything that is wrong, not only the first."""
    problems: list[str] = []
    folder = folder or tool_folder(settings)
    try:
        folder.load()
    except ToolFileError as error:
        if reload_tools and settings.tools_dir.is_dir():
            print(error, file=sys.stderr)  # noqa: T201 - it does not stop the start: mend it, and it is read again
        else:
            problems += str(error).splitlines()
    with collected(problems):
        servers = load_servers(settings)
    with collected(problems):
        models = load_models(settings)
    with collected(problems):
        prompt = load_prompt(settings)
    if problems:
        raise NotConfigured(*problems)
    return AgentParts(folder, models, load_config(settings, prompt, reload_tools=reload_tools), servers)


def load_config(settings: Settings, prompt: str, *, reload_tools: bool = False) -> AgentConfig:
    return AgentConfig(
        prompt=prompt,
        welcome=settings.welcome_message,
        welcome_back=settings.welcome_back_message if settings.welcome_message else "",
        language=settings.default_language,
        turn_timeout=settings.turn_timeout_seconds,
        max_tool_steps=settings.max_tool_steps,
        max_turns=settings.max_turns,
        action_hold=settings.action_hold_seconds,
        reload_tools=reload_tools,
    )


def load_tools(settings: Settings) -> ToolFolder:
    """The tools, for what does without a model. NotConfigured has what is wrong with their files."""
    folder = ToolFolder(settings.tools_dir)
    try:
        folder.load()
    except ToolFileError as error:
        raise NotConfigured(*str(error).splitlines()) from error
    return folder


def load_servers(settings: Settings) -> Mapping[str, ServerConfig]:
    """What MCP_SERVERS says. NotConfigured when the file is wrong, or nothing is installed to use it."""
    if settings.mcp_servers is None:
        return {}
    if find_spec("langchain_mcp_adapters") is None:
        raise NotConfigured("MCP_SERVERS needs packages that are not installed: uv sync --extra mcp.")
    try:
        return tooling.load_servers(settings.mcp_servers)
    except McpFileError as error:
        raise NotConfigured(*str(error).splitlines()) from error


@asynccontextmanager
async def open_servers(servers: Mapping[str, ServerConfig], folder: ToolFolder) -> AsyncIterator[list[str]]:
    """The MCP servers' tools in the folder. Yields what of their configuration does not fit them."""
    if not servers:
        yield []
        return
    from agent.tooling.mcp import open_servers as open_

    async with open_(servers, folder) as faults:
        yield faults


async def check_servers(servers: Mapping[str, ServerConfig], folder: ToolFolder) -> None:
    """NotConfigured when the MCP servers do not fit their configuration. Afterwards the folder has their tools, to be
    listed."""
    async with open_servers(servers, folder) as faults:
        if faults:
            raise NotConfigured(*faults)


def load_models(settings: Settings) -> Models:
    """The model and its fallback. NotConfigured when they cannot be used."""
    problems: list[str] = []
    fallback = None
    with collected(problems):
        primary = _model(
            "MODEL", settings.model, settings, thinking=settings.model_thinking, options=settings.model_options
        )
    if settings.model_fallback:
        with collected(problems):
            fallback = _model("MODEL_FALLBACK", settings.model_fallback, settings)
    if problems:
        raise NotConfigured(*problems)
    return Models(
        primary,
        fallback,
        first_token=settings.first_token_seconds,
        apology=settings.apology_message,
        ending=settings.ending_message,
        thinking=settings.thinking_message,
        summarises=settings.model != "demo",
    )


def load_judge(settings: Settings) -> StructuredModel:
    """The model that judges simulated calls. NotConfigured when it cannot be used."""
    return _structured("JUDGE_MODEL", settings.judge_model, settings, {"temperature": 0})


def load_simulator(settings: Settings) -> StructuredModel:
    """The model that plays callers. NotConfigured when it cannot be used."""
    return _structured("SIMULATOR_MODEL", settings.simulator_model, settings, {})


def _structured(variable: str, name: str | None, settings: Settings, options: Mapping[str, Any]) -> StructuredModel:
    """The model of that name, or the agent's with its options."""
    own = name or settings.model
    if own == "demo":
        raise NotConfigured(f"MODEL=demo is no language model: set {variable}.")
    more = {} if name else settings.model_options
    variable = variable if name else "MODEL"
    return StructuredModel(_model(variable, own, settings, options={**more, **options}), own)


def _model(variable: str, name: str, settings: Settings, **more: Any) -> Any:
    try:
        return load_model(
            name,
            **more,
            google_api_key=settings.google_key,
            google_base_url=settings.google_gemini_base_url,
            gemini_fast=settings.gemini_fast,
        )
    except ModelError as error:
        raise NotConfigured(str(error).replace("MODEL=", f"{variable}=", 1)) from error


def load_prompt(settings: Settings) -> str:
    """The prompt. NotConfigured when its file cannot be read."""
    file = settings.system_prompt_file or PROMPT_FILE
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotConfigured(f"SYSTEM_PROMPT_FILE={file} cannot be read: {error}.") from error


@asynccontextmanager
async def open_configured(
    settings: Settings, parts: AgentParts, observers: Sequence[Observer] = ()
) -> AsyncIterator[tuple[Agent, Storage]]:
    """The agent and its memory. NotConfigured when the database cannot be opened."""
    async with (
        open_database(settings, alone=True) as storage,
        open_servers(parts.servers, parts.folder) as faults,
        open_agent(
            storage=storage,
            folder=parts.folder,
            models=parts.models,
            config=parts.config,
            observers=observers,
            call_times=CallTimes(idle=settings.call_idle_seconds),
        ) as agent,
    ):
        for fault in faults:
            log.error("%s", fault)
        yield agent, storage


@asynccontextmanager
async def open_database(settings: Settings, *, alone: bool = False) -> AsyncIterator[Storage]:
    """The memory. NotConfigured when the database cannot be opened, or not `alone`: another server has it."""
    try:
        async with open_storage(settings.database_url, alone=alone) as storage:
            yield storage
    except DatabaseError as error:
        raise NotConfigured(str(error)) from error


def check_workers(settings: Settings, count: int) -> None:
    """NotConfigured when the database serves one process only."""
    if count > 1 and not is_shared(settings.database_url):
        raise NotConfigured(
            f"SQLite serves one process: --workers {count} needs DATABASE_URL=postgresql://user@host/database."
        )


async def check_database(settings: Settings, *, to_serve: bool = False) -> None:
    """NotConfigured when the database cannot be opened, or not to serve from it."""
    async with open_database(settings, alone=to_serve):
        pass
