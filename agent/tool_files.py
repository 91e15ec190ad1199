"""The tools in a folder: every LangChain tool at the top level of a `*.py` file that does not begin with `_`."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from langchain_core.tools import BaseTool


class ToolFileError(Exception):
    """A tool file that cannot be used. The text is one sentence with file and line."""


@dataclass(frozen=True)
class _File:
    version: tuple[int, int]
    tools: Mapping[str, BaseTool]
    error: ToolFileError | None = None


class ToolFolder:
    """The tools of one folder.

    `load()` reads it strictly: the first error is raised. `refresh()` reads what has changed since, for
    development: a broken file keeps its last good tools, and the error is returned once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: dict[Path, _File] = {}
        self._tools: Mapping[str, BaseTool] = {}

    @property
    def tools(self) -> Mapping[str, BaseTool]:
        """The tools by name, as last read. A new object whenever something changed."""
        return self._tools

    def file_of(self, name: str) -> Path:
        return next(path for path, file in self._files.items() if name in file.tools)

    def load(self) -> None:
        """Read every file. ToolFileError for the first that does not import, or for two tools of one name."""
        if not self.path.is_dir():
            raise ToolFileError(f"There is no folder {self.path} with tools in it: set TOOLS_DIR or make it.")
        errors = self.refresh()
        if errors:
            raise errors[0]

    def refresh(self) -> list[ToolFileError]:
        """Read new and changed files, forget deleted ones. What is newly wrong comes back."""
        found = {path: _version(path) for path in sorted(self.path.glob("[!_]*.py"))}
        changed = [p for p, version in found.items() if p not in self._files or self._files[p].version != version]
        if not changed and len(found) == len(self._files):
            return []
        self._files = {path: file for path, file in self._files.items() if path in found}
        for path in changed:
            self._files[path] = self._read(path, found[path])
        errors = [file.error for path in changed if (file := self._files[path]).error]
        tools: dict[str, BaseTool] = {}
        errors += _merge(tools, self._files)
        self._tools = tools
        return errors

    def _read(self, path: Path, version: tuple[int, int]) -> _File:
        try:
            return _File(version, dict(_tools_of(_import(path, self.path.name))))
        except ToolFileError as error:
            before = self._files.get(path)
            return _File(version, before.tools if before else {}, error)


def _version(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def _merge(tools: dict[str, BaseTool], files: Mapping[Path, _File]) -> list[ToolFileError]:
    owners: dict[str, Path] = {}
    errors = []
    for path, file in sorted(files.items()):
        for name, tool in file.tools.items():
            if tools.setdefault(name, tool) is not tool:
                errors.append(ToolFileError(f"{path} and {owners[name]} both have a tool {name!r}: rename one."))
            owners.setdefault(name, path)
    return errors


def _import(path: Path, package: str) -> ModuleType:
    """Run the file from its source: a cached byte code may be as old as a second."""
    module = ModuleType(f"{package}.{path.stem}")
    module.__file__ = str(path)
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module
    try:
        exec(compile(path.read_bytes(), path, "exec"), module.__dict__)  # noqa: S102 - the developer's own file
    except Exception as error:
        if before is None:
            del sys.modules[module.__name__]
        else:
            sys.modules[module.__name__] = before
        raise ToolFileError(f"{path}:{_line(error, path)}: {type(error).__name__}: {error}") from error
    return module


def _line(error: Exception, path: Path) -> int:
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno or 1
    frames = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return (frames or [1])[-1] or 1


def _tools_of(module: ModuleType) -> Iterator[tuple[str, BaseTool]]:
    for value in vars(module).values():
        if isinstance(value, BaseTool):
            yield value.name, value
