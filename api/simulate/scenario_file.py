"""Reading a scenario's file. What is wrong in it is told with file, line and what to write instead."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from agent.json_values import replace_surrogates
from api.simulate.scenario import Scenario

Loc = Sequence[int | str]


class ScenarioError(Exception):
    """Not a scenario. A line for each fault, with file and line number."""


class _Loader(yaml.SafeLoader):
    """YAML as people write it: `Yes` and `No` are words, `19:30` is a time that somebody says, `007` keeps its zeros.
    A field that stands twice is an error. So are tags, which make other things of a text, and aliases: a short file
    with some is millions of lines long."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _refused(event, f"*{event.anchor} is not read here: write out what it stands for")
        if getattr(event, "tag", None):
            raise _refused(event, "a text that begins with ! is put in quotes, and tags are not read")
        node = super().compose_node(parent, index)
        if isinstance(node, yaml.ScalarNode) and node.value != replace_surrogates(node.value):
            raise _refused(event, "\\u stands before half of a character here: write the character itself")
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refused(key, "a field's name is a word: put a text that begins with [ or { in quotes")
            if key.value in seen:
                raise _refused(key, f"`{key.value}` stands twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _refused(what: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(problem=problem, problem_mark=what.start_mark)


_PLAIN = {
    "tag:yaml.org,2002:bool": (re.compile("true|false"), "tf"),
    "tag:yaml.org,2002:null": (re.compile("null|~|"), ["n", "~", ""]),
    "tag:yaml.org,2002:int": (re.compile("-?(?:0|[1-9][0-9]{0,17})"), "-0123456789"),
    "tag:yaml.org,2002:float": (re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+"), "-0123456789"),
}
_Loader.yaml_implicit_resolvers = {}
for _tag, (_pattern, _first) in _PLAIN.items():
    _Loader.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern.pattern})$"), list(_first))


def load_scenario(path: Path, tools: Collection[str] | None = None) -> Scenario:
    """The scenario in a file. ScenarioError with all that is wrong. tools: the names of those that there are."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ScenarioError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ScenarioError(f"{path} is not text in UTF-8.") from None
    return read_scenario(text, path, tools)


def read_scenario(text: str, path: Path, tools: Collection[str] | None = None) -> Scenario:
    """path: for what is said of errors."""
    try:
        node, fields = _loaded(text)
    except yaml.MarkedYAMLError as error:
        raise ScenarioError(_of_syntax(path, error)) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ScenarioError(f"{path}:1: this is not YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(fields, dict):
        raise ScenarioError(f"{path}:1: a scenario is a mapping with caller: and model:, see docs/simulate.md.")
    try:
        return Scenario.model_validate(fields, context={"tools": tools})
    except ValidationError as error:
        faults: dict[int, str] = {}
        for fault in error.errors():
            line, name = _place_of(node, fault["loc"])
            faults.setdefault(line, _sentence(fault, name))
        raise ScenarioError("\n".join(f"{path}:{line}: {faults[line]}" for line in sorted(faults))) from None


def _loaded(text: str) -> tuple[yaml.Node | None, Any]:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        return node, loader.construct_document(node) if node else None
    finally:
        loader.dispose()


def _of_syntax(path: Path, error: yaml.MarkedYAMLError) -> str:
    mark, problem = error.problem_mark or error.context_mark, error.problem or "it cannot be read"
    line = mark.line + 1 if mark else 1
    if problem.startswith("expected ',' or"):
        problem = "a list in brackets goes wrong here: put a text with one of , ? : [ ] { } in quotes"
    elif "mapping values are not allowed" in problem:
        problem = "a colon followed by a space stands in a text: put the text in quotes"
    elif problem.startswith("found character"):
        problem += ": indent with spaces, and put a text that begins with a sign in quotes"
    return f"{path}:{line}: {problem}."


def _place_of(node: yaml.Node | None, loc: Loc) -> tuple[int, str]:
    """The line of what a fault is about, and its field. What is not in the file, such as the name of a kind, is passed
    over."""
    line, field = node.start_mark.line if node else 0, ""
    for name in loc:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(name)), None)
            if found:
                line, field, node = found[0].start_mark.line, str(name), found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(name, int) and name < len(node.value):
            node = node.value[name]
            line = node.start_mark.line
    return line + 1, field


def _sentence(fault: ErrorDetails, field: str) -> str:
    match fault["type"]:
        case "extra_forbidden":
            return f"there is no field `{field}` here{_meant(field)}"
        case "missing":
            return f"`{fault['loc'][-1]}:` is missing."
        case "value_error":
            message = str(fault["ctx"]["error"])
        case "literal_error":
            message = f"write {fault['ctx']['expected']}"
        case "string_pattern_mismatch":
            message = "write keys from 0 to 9, * and #"
        case "model_type" | "dict_type":
            message = f"write under `{field}:` a field and its value in each line"
        case "list_type":
            message = f"write under `{field}:` a list, each line with a dash"
        case _:
            message = fault["msg"][0].lower() + fault["msg"][1:]
    given = f"{field}: {_short(fault['input'])}" if "[key]" not in fault["loc"] else field
    about = f"`{given}`: " if isinstance(fault["input"], str | int | float) else ""
    return f"{about}{message}."


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _fields() -> set[str]:
    """Every field that there is anywhere."""
    names: set[str] = set()
    for schema in [(whole := Scenario.model_json_schema()), *whole["$defs"].values()]:
        names |= schema.get("properties", {}).keys()
    return names


def _meant(name: str) -> str:
    close = get_close_matches(name, _fields(), n=1)
    return f": is `{close[0]}` meant?" if close and close[0] != name else "."
