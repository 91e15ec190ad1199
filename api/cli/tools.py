"""`voice tools`: what is there, what is wrong with it, and what the model is told of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence

from agent.languages import Texts
from agent.llm.gemini.declaration import declaration
from agent.tooling import ToolFileError, ToolFolder, options_of
from api.cli.printing import echo
from api.settings import NotConfigured, Settings, collected
from api.wiring import check_servers, load_servers, tool_folder


def list_tools(settings: Settings) -> None:
    """Print each tool that works. NotConfigured, afterwards, with what does not."""
    folder, problems = _read(settings)
    if not folder.tools and not problems:
        echo(f"There are no tools in {folder.path}/.")
    for name in folder.tools:
        _describe(name, folder)
    if problems:
        raise NotConfigured(*problems)


def show_schema(name: str, settings: Settings) -> None:
    """Print a tool's declaration. NotConfigured when there is no such tool, with what is wrong with those there are."""
    folder, problems = _read(settings)
    if name not in folder.tools:
        problems.append(f"There is no tool {name}. There are: {', '.join(folder.tools) or 'none'}.")
        raise NotConfigured(*problems)
    echo(json.dumps(declaration(folder.tools[name]), indent=2, ensure_ascii=False))


def _read(settings: Settings) -> tuple[ToolFolder, list[str]]:
    """All tools, those of MCP servers too, and what is wrong with the others."""
    folder = tool_folder(settings, gemini=True)
    problems: list[str] = []
    try:
        folder.load()
    except ToolFileError as error:
        problems += str(error).splitlines()
    with collected(problems):
        asyncio.run(check_servers(load_servers(settings), folder))
    return folder, problems


def _lines(given: Texts | Sequence[Texts] | None) -> str:
    if isinstance(given, Mapping):
        return "; ".join(f"{tag}: {text}" for tag, text in given.items())
    return given if isinstance(given, str) else " / ".join(map(_lines, given or ()))


def _describe(name: str, folder: ToolFolder) -> None:
    tool = folder.tools[name]
    options = options_of(tool)
    echo(f"{name}({', '.join(tool.args)})", bold=True, nl=False)
    echo(f"  {folder.owner_of(name)}")
    for label, line in (
        ("does", tool.description.strip().partition("\n")[0]),
        ("says", _lines(options.say)),
        ("when slow", _lines(options.slow)),
        ("asks", _lines(options.confirm)),
    ):
        if line:
            echo(f"    {label}: {line}")
    at_once = f"; at once: {options.at_once}" if options.at_once else ""
    echo(f"    time limit: {options.timeout:g} s; on barge-in: {options.on_barge_in}{at_once}")
