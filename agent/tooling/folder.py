"""The tools in a folder: every LangChain tool at the top level of a `*.py` file, but of `_*.py` and `.*.py`.

A file whose tools keep something about callers has a function beside them that `voice forget` calls:

    async def forget(database: Database, conversations: Sequence[str], caller: str | None) -> int:

It deletes what was kept of these conversations and, when a person is to be forgotten, of their phone number
(`caller`), and returns how many things that were. It may be called again for the same.

A file that wants to know when a call is over has a function for that (ended_call.py says what it gets):

    async def call_ended(call: EndedCall) -> None:
"""

from __future__ import annotations

import importlib
import inspect
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from langchain_core.tools import BaseTool

from agent.storage import Database
from agent.tooling.decorator import VoiceTool
from agent.tooling.ended_call import CallEnded
from agent.tooling.langchain_tools import adopt

Declare = Callable[[BaseTool], object]
"""Declares a tool to the model's client. ValueError when it does not take it."""

Forget = Callable[[Database, Sequence[str], str | None], Awaitable[int]]

_STALE = (0, 0)


class ToolFileError(Exception):
    """Tool files that cannot be used. The text has a line for each fault, with file and line number."""


class ToolClash(ToolFileError):
    """Two tools have one name. `tool`, of `owner`, is left out."""

    def __init__(self, first: str, owner: str, tool: BaseTool) -> None:
        have = f"{owner} has two tools" if first == owner else f"{first} and {owner} both have a tool"
        super().__init__(f"{have} {tool.name!r}: rename one.")
        self.owner, self.tool = owner, tool


@dataclass(frozen=True)
class _File:
    version: tuple[int, int]
    tools: Mapping[str, BaseTool]
    forget: Forget | None = None
    call_ended: CallEnded | None = None
    error: ToolFileError | None = None


class ToolFolder:
    """The tools of one folder.

    `load()` reads it strictly: errors are raised. `refresh()` reads what has changed since, for development: a
    broken file keeps its last good tools, and the error is returned once. Turns call it from several threads.

    A tool that cannot be offered to a model is an error of its own: the other tools of its file are there.
    declare: asks the model's client whether it can.
    """

    def __init__(self, path: Path, declare: Declare | None = None) -> None:
        self.path = path
        self._declare = declare
        self._files: dict[Path, _File] = {}
        self._offered: Mapping[str, Sequence[BaseTool]] = {}
        self._tools: Mapping[str, BaseTool] = {}
        self._helpers: Mapping[Path, tuple[int, int]] = {}
        self._clashes: list[ToolClash] = []
        self._call_ended: Mapping[Path, CallEnded] = {}
        self._lock = threading.Lock()

    @property
    def tools(self) -> Mapping[str, BaseTool]:
        """The tools by name, as last read. A new object whenever something changed."""
        return self._tools

    def owner_of(self, name: str) -> str:
        """The file of a tool, or who else has offered it."""
        return next(owner for owner, tools in self._owners() if any(tool.name == name for tool in tools))

    def offer(self, owner: str, tools: Sequence[BaseTool]) -> None:
        """Have tools that are in no file, in place of those that `owner` offered before. A name that a file, an owner
        before this one, or a tool before it in `tools` has too stays theirs."""
        with self._lock:
            self._offered = {**self._offered, owner: tools}
            self._tools, _ = _merged(self._owners())

    def clashes_of(self, owner: str) -> list[ToolClash]:
        """For each tool of this owner's that another tool stands before."""
        with self._lock:
            return [clash for clash in _merged(self._owners())[1] if clash.owner == owner]

    def changed(self, change: Callable[[BaseTool], BaseTool]) -> ToolFolder:
        """A folder that has each tool of this one as `change` gives it. Its files are not read again."""
        folder = copy(self)
        folder._tools = {name: change(tool) for name, tool in self._tools.items()}
        return folder

    @property
    def errors(self) -> list[str]:
        """What is wrong with the files, as last read."""
        return [str(error) for error in [*(file.error for file in self._files.values()), *self._clashes] if error]

    @property
    def forgets(self) -> Mapping[Path, Forget]:
        """The functions that `voice forget` calls, by file."""
        return {path: file.forget for path, file in self._files.items() if file.forget}

    @property
    def call_ended(self) -> Mapping[Path, CallEnded]:
        """The functions that are told of each call's end, by file."""
        return self._call_ended

    def load(self) -> None:
        """Read every file. ToolFileError names each that does not import, and two tools of one name."""
        if not self.path.is_dir():
            raise ToolFileError(f"There is no folder {self.path} with tools in it: set TOOLS_DIR or make it.")
        errors = self.refresh()
        if errors:
            raise ToolFileError("\n".join(map(str, errors)))

    def refresh(self) -> list[ToolFileError]:
        """Read new and changed files, forget deleted ones. What is newly wrong comes back."""
        with self._lock:
            return self._refresh()

    def _refresh(self) -> list[ToolFileError]:
        found, helpers = _versions(self.path, "[!_.]*.py"), _versions(self.path, "_*.py")
        if helpers != self._helpers and self._files:
            self._forget(helpers)
        self._helpers = helpers
        changed = [p for p, version in found.items() if p not in self._files or self._files[p].version != version]
        if not changed and len(found) == len(self._files):
            return []
        self._files = {path: file for path, file in self._files.items() if path in found}
        for path in changed:
            self._files[path] = self._read(path, found[path])
        errors = [file.error for path in changed if (file := self._files[path]).error]
        self._tools, self._clashes = _merged(self._owners())
        self._call_ended = {path: file.call_ended for path, file in self._files.items() if file.call_ended}
        return [*errors, *self._clashes]

    def _owners(self) -> Iterator[tuple[str, Iterable[BaseTool]]]:
        yield from ((str(path), file.tools.values()) for path, file in sorted(self._files.items()))
        yield from self._offered.items()

    def _forget(self, helpers: Iterable[Path]) -> None:
        """What tool files import from beside them has changed: read all of it anew."""
        importlib.invalidate_caches()
        for path in helpers:
            sys.modules.pop(f"{self.path.name}.{path.stem}", None)
        self._files = {path: replace(file, version=_STALE) for path, file in self._files.items()}

    def _read(self, path: Path, version: tuple[int, int]) -> _File:
        before = self._files.get(path) or _File(version, {})
        try:
            module = _import(path, self.path.name)
            found, forget = _tools_of(module, path), _hook(module, path, "forget(database, conversations, caller)")
            call_ended = _hook(module, path, "call_ended(call)")
        except ToolFileError as error:
            return replace(before, version=version, error=error)
        tools: dict[str, BaseTool] = {}
        faults = []
        for name, tool in found.items():
            try:
                tools[name] = self.fit(tool)
            except Exception as error:  # noqa: BLE001 - whatever a client raises: this tool alone is left out
                faults.append(_fault(path, tool, error))
                tools |= {name: before.tools[name]} if name in before.tools else {}
        fault = ToolFileError("\n".join(faults)) if faults else None
        return _File(version, tools, forget, call_ended, fault)

    def fit(self, tool: BaseTool) -> VoiceTool:
        """The tool as it is offered. ValueError, or what the model's client raises, when it cannot be."""
        adopted = adopt(tool)
        if self._declare:
            self._declare(adopted)
        return adopted


def _versions(folder: Path, pattern: str) -> dict[Path, tuple[int, int]]:
    """A file that is replaced at this moment, or a link into nowhere, is not there."""
    versions = {}
    for path in sorted(folder.glob(pattern)):
        with suppress(OSError):
            status = path.stat()
            versions[path] = (status.st_mtime_ns, status.st_size)
    return versions


def _merged(offers: Iterable[tuple[str, Iterable[BaseTool]]]) -> tuple[dict[str, BaseTool], list[ToolClash]]:
    """All of them, and an error for each name that comes twice: the first stays."""
    tools: dict[str, BaseTool] = {}
    owners: dict[str, str] = {}
    errors = []
    for owner, offered in offers:
        for tool in offered:
            if tools.setdefault(tool.name, tool) is not tool:
                errors.append(ToolClash(owners[tool.name], owner, tool))
            owners.setdefault(tool.name, owner)
    return tools, errors


def _import(path: Path, package: str) -> ModuleType:
    """Run the file from its source: a cached byte code may be as old as a second."""
    module = ModuleType(f"{package}.{path.stem}")
    module.__file__ = str(path)
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module
    try:
        exec(compile(path.read_bytes(), path, "exec"), module.__dict__)  # noqa: S102 - the developer's own file
    except (Exception, SystemExit) as error:
        if before is None:
            del sys.modules[module.__name__]
        else:
            sys.modules[module.__name__] = before
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise ToolFileError(f"{path}:{_line(error, path)}: {what}") from error
    return module


def _line(error: BaseException, path: Path) -> int:
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno or 1
    frames = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return (frames or [1])[-1] or 1


def _hook(module: ModuleType, path: Path, declared: str) -> Any:
    """A function that is called beside the tools, if the file has it. ToolFileError when it is not async."""
    name = declared.partition("(")[0]
    hook = vars(module).get(name)
    if inspect.isfunction(hook) and not inspect.iscoroutinefunction(hook):
        raise ToolFileError(f"{path}: {name} must be `async def {declared}`.")
    return hook if inspect.iscoroutinefunction(hook) else None


def _fault(path: Path, tool: BaseTool, error: Exception) -> str:
    """In a line: where the tool is, and what is wrong with it."""
    what = " ".join(str(error).split()) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    label = f"tool {tool.name!r}: "
    return f"{path}:{_line_of(tool, path)}: {label}{what.removeprefix(label)}"


def _line_of(tool: BaseTool, path: Path) -> int:
    candidates = (getattr(tool, name, None) for name in ("coroutine", "func", "_run"))
    codes = (getattr(inspect.unwrap(function), "__code__", None) for function in candidates if function)
    return next((code.co_firstlineno for code in codes if code and code.co_filename == str(path)), 1)


def _tools_of(module: ModuleType, path: Path) -> dict[str, BaseTool]:
    tools: dict[str, BaseTool] = {}
    for value in vars(module).values():
        if isinstance(value, BaseTool) and tools.setdefault(value.name, value) is not value:
            raise ToolFileError(f"{path} has two tools {value.name!r}: rename one.")
    return tools
