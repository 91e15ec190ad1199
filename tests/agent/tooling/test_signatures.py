"""Every annotation that a person would write in a tool: loaded, declared as Gemini takes it, called with what a model
would send, and read back from what the tool got."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.llm.gemini.declaration import declaration
from agent.tooling import ToolFolder
from agent.tooling.call import fault_in
from agent.tooling.results import text_of

HEAD = """
import collections, datetime as dt, decimal, enum, pathlib, uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NewType, Optional, Union
from typing_extensions import NotRequired, TypedDict
from agent import voice_tool
from langchain_core.tools import StructuredTool, tool
from pydantic import AfterValidator, BaseModel, Field, HttpUrl, PositiveInt, StringConstraints

class Seat(enum.Enum):
    WINDOW = "window"
    AISLE = "aisle"

class Mood(str, enum.Enum):
    GOOD = "good"

class Floor(enum.IntEnum):
    GROUND = 0
    FIRST = 1

class Guest(BaseModel):
    name: str
    age: int | None = None
    seat: Seat = Seat.AISLE

class Party(BaseModel):
    host: Guest
    guests: list[Guest] = []

class Dog(BaseModel):
    kind: Literal["dog"]
    barks: bool

class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int

class Lenient(BaseModel):
    first_name: str = Field(alias="firstName")

@dataclass
class Place:
    lat: float
    lon: float = 0.0

class Address(TypedDict):
    street: str
    number: NotRequired[int]

Celsius = NewType("Celsius", float)
"""
INT, NUMBER, STRING, BOOL = ({"type": kind} for kind in ("INTEGER", "NUMBER", "STRING", "BOOLEAN"))


def array(items: dict[str, Any], **more: str) -> dict[str, Any]:
    return {"type": "ARRAY", "items": items, **more}


def text(**more: Any) -> dict[str, Any]:
    return {"type": "STRING", **more}


def fields(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "OBJECT", "properties": properties, "required": list(required)}


SEAT = text(enum=["window", "aisle"])
GUEST = fields("name", name=STRING, age=INT, seat=SEAT)
PLACE = fields("lat", lat=NUMBER, lon=NUMBER)
CAT = fields("kind", "lives", kind=text(enum=["cat"]), lives=INT)
DOG = fields("kind", "barks", kind=text(enum=["dog"]), barks=BOOL)
ADA = {"name": "Ada", "age": 36, "seat": "window"}


def pairs(value: dict[str, Any]) -> dict[str, Any]:
    return array(fields("key", "value", key=STRING, value=value))


# (annotation and default, how it is declared, what a model sends, what the tool has got)
SIGNATURES: list[tuple[str, dict[str, Any], Any, str]] = [
    ("str", STRING, "Rome", "'Rome'"),
    ("int", INT, 4, "4"),
    ("int", INT, 4.0, "4"),
    ("float", NUMBER, 4, "4.0"),
    ("bool", BOOL, True, "True"),
    ("str = 'metric'", STRING, None, "'metric'"),
    ("Optional[int] = None", INT, None, "None"),
    ("int | None", INT, None, "None"),
    ("int | None", INT, 3, "3"),
    ("str | int", {"anyOf": [STRING, INT]}, 7, "7"),
    ("Union[str, list[str]]", {"anyOf": [STRING, array(STRING)]}, ["a"], "['a']"),
    ("Literal['s', 'm']", text(enum=["s", "m"]), "m", "'m'"),
    ("Literal[10, 11, 12]", {**INT, "description": "One of: 10, 11, 12."}, 11, "11"),
    ("Literal['all', 10]", text(enum=["all", "10"]), "10", "10"),
    ("Literal[True]", {**BOOL, "description": "One of: true."}, True, "True"),
    ("Literal['', 'x']", text(description='One of: "", "x".'), "", "''"),
    ("Optional[Literal['a']] = None", text(enum=["a"]), "a", "'a'"),
    ("Seat", SEAT, "window", "<Seat.WINDOW: 'window'>"),
    ("Seat = Seat.AISLE", SEAT, None, "<Seat.AISLE: 'aisle'>"),
    ("Mood", text(enum=["good"]), "good", "<Mood.GOOD: 'good'>"),
    ("Floor", {**INT, "description": "One of: 0, 1."}, 1, "<Floor.FIRST: 1>"),
    ("dt.date", text(description="A date such as 2026-12-24."), "2026-12-24", "datetime.date(2026, 12, 24)"),
    ("dt.time", text(description="A time of day such as 19:30."), "19:30", "datetime.time(19, 30)"),
    (
        "dt.datetime",
        text(description="A date and time such as 2026-12-24T19:30:00."),
        "2026-12-24T19:30:00",
        "datetime.datetime(2026, 12, 24, 19, 30)",
    ),
    (
        "dt.timedelta",
        text(description="A duration in ISO 8601, such as PT1H30M."),
        "PT90M",
        "datetime.timedelta(seconds=5400)",
    ),
    ("decimal.Decimal", NUMBER, 1.1, "Decimal('1.1')"),
    ("uuid.UUID", text(description="A UUID."), "0" * 32, f"UUID('{'00000000-0000-0000-0000-000000000000'}')"),
    ("pathlib.PurePosixPath", text(description="Format: path."), "a/b", "PurePosixPath('a/b')"),
    (
        "HttpUrl",
        text(description="Format: uri. At least 1 characters. At most 2083 characters."),
        "https://a.example",
        "HttpUrl('https://a.example/')",
    ),
    ("bytes", text(description="Format: binary."), "hi", "b'hi'"),
    ("Celsius", NUMBER, 21, "21.0"),
    ("list[str]", array(STRING), ["a"], "['a']"),
    ("list[list[float]]", array(array(NUMBER)), [[1, 2]], "[[1.0, 2.0]]"),
    ("list[str] | None = None", array(STRING), None, "None"),
    ("list[int | str]", array({"anyOf": [INT, STRING]}), ["a", 1], "['a', 1]"),
    ("list[int | float]", array({"anyOf": [INT, NUMBER]}), [1, 2.5], "[1, 2.5]"),
    ("list[Seat]", array(SEAT), ["aisle"], "[<Seat.AISLE: 'aisle'>]"),
    (
        "list[dt.date]",
        array(text(description="A date such as 2026-12-24.")),
        ["2026-12-24"],
        "[datetime.date(2026, 12, 24)]",
    ),
    ("Sequence[int]", array(INT), [1], "[1]"),
    ("set[str]", array(STRING), ["a"], "{'a'}"),
    ("frozenset[int]", array(INT), [1], "frozenset({1})"),
    ("collections.deque[int]", array(INT), [1], "deque([1])"),
    ("tuple[float, float]", array(NUMBER, description="Exactly 2 of them."), [1, 2], "(1.0, 2.0)"),
    (
        "tuple[str, int]",
        array({"anyOf": [STRING, INT]}, description="In this order: string, integer. Exactly 2 of them."),
        ["a", 1],
        "('a', 1)",
    ),
    ("tuple[int, ...]", array(INT), [1, 2], "(1, 2)"),
    ("dict[str, str]", pairs(STRING), [{"key": "a", "value": "b"}], "{'a': 'b'}"),
    ("dict[str, str]", pairs(STRING), {"a": "b"}, "{'a': 'b'}"),
    ("dict[str, list[int]]", pairs(array(INT)), [{"key": "a", "value": [1]}], "{'a': [1]}"),
    ("dict[int, float]", pairs(NUMBER), [{"key": "1", "value": 2}], "{1: 2.0}"),
    ("Mapping[str, int]", pairs(INT), [], "{}"),
    ("dict[str, Place]", pairs(PLACE), [{"key": "a", "value": {"lat": 1}}], "{'a': Place(lat=1.0, lon=0.0)}"),
    ("Guest", GUEST, ADA, "Guest(name='Ada', age=36, seat=<Seat.WINDOW: 'window'>)"),
    ("Guest | None = None", GUEST, None, "None"),
    (
        "list[Guest]",
        array(GUEST),
        [{"name": "Ada", "age": None}],
        "[Guest(name='Ada', age=None, seat=<Seat.AISLE: 'aisle'>)]",
    ),
    (
        "Party",
        fields("host", host=GUEST, guests=array(GUEST)),
        {"host": {"name": "Ada"}, "guests": []},
        "Party(host=Guest(name='Ada', age=None, seat=<Seat.AISLE: 'aisle'>), guests=[])",
    ),
    ("Dog | Cat", {"anyOf": [DOG, CAT]}, {"kind": "cat", "lives": 9}, "Cat(kind='cat', lives=9)"),
    (
        "list[Annotated[Dog | Cat, Field(discriminator='kind')]]",
        array({"anyOf": [DOG, CAT]}),
        [{"kind": "dog", "barks": True}],
        "[Dog(kind='dog', barks=True)]",
    ),
    ("Lenient", fields("firstName", firstName=STRING), {"firstName": "Ada"}, "Lenient(first_name='Ada')"),
    ("Place", PLACE, {"lat": 1, "lon": 2}, "Place(lat=1.0, lon=2.0)"),
    ("Address", fields("street", street=STRING, number=INT), {"street": "A"}, "{'street': 'A'}"),
    ("Annotated[str, Field(description='The city.')]", text(description="The city."), "Rome", "'Rome'"),
    ("Annotated[str, 'The city']", text(description="The city"), "Rome", "'Rome'"),
    (
        "Annotated[int, Field(ge=1, le=12, description='How many.')]",
        {**INT, "description": "How many. At least 1. At most 12."},
        12,
        "12",
    ),
    ("int = Field(default=2, gt=0)", {**INT, "description": "More than 0."}, None, "2"),
    ("Annotated[str, Field(pattern=r'^\\d{5}$')]", text(description=r"It matches ^\d{5}$"), "12345", "'12345'"),
    (
        "Annotated[str, StringConstraints(strip_whitespace=True, max_length=5)]",
        text(description="At most 5 characters."),
        " a ",
        "'a'",
    ),
    ("Annotated[list[int], Field(min_length=1)]", array(INT, description="At least 1 of them."), [1], "[1]"),
    ("Annotated[str, AfterValidator(str.title)]", STRING, "rome", "'Rome'"),
    ("PositiveInt", {**INT, "description": "More than 0."}, 3, "3"),
]
REFUSED = [
    ("int", "many", "x: Input should be a valid integer"),
    ("Literal[10, 11]", 12, "x: Input should be 10 or 11"),
    ("Annotated[int, Field(ge=1)]", 0, "x: Input should be greater than or equal to 1"),
    ("Annotated[str, Field(pattern='^a$')]", "b", "x: String should match pattern"),
    ("tuple[float, float]", [1], "x.1: Field required"),
    ("dict[str, int]", [{"key": "a", "value": "b"}], "x.a: Input should be a valid integer"),
    ("Seat", "door", "x: Input should be 'window' or 'aisle'"),
    ("dt.date", "24.12.", "x: Input should be a valid date"),
    ("Guest", {}, "x.name: Field required"),
    ("str", None, "x: Field required"),
]


@pytest.fixture(scope="module", params=["@voice_tool", "@tool"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ToolFolder:
    """All of them in one file; it loads strictly, declared to Gemini's client."""
    path: Path = tmp_path_factory.mktemp("signatures")
    annotations = [annotation for annotation, *_ in [*SIGNATURES, *REFUSED]]
    tools = (
        f'\n{request.param}\nasync def tool_{at}(x: {annotation}) -> str:\n    """Does it."""\n    return repr(x)\n'
        for at, annotation in enumerate(annotations)
    )
    (path / "made.py").write_text(HEAD + "".join(tools))
    folder = ToolFolder(path, declaration)
    folder.load()
    return folder


@pytest.mark.parametrize(
    ("at", "declared", "sent", "got"),
    [(at, declared, sent, got) for at, (_, declared, sent, got) in enumerate(SIGNATURES)],
    ids=[f"{annotation} {sent}" for annotation, _, sent, _ in SIGNATURES],
)
async def test_an_annotation_is_declared_called_and_read(
    folder: ToolFolder, at: int, declared: dict[str, Any], sent: Any, got: str
) -> None:
    tool = folder.tools[f"tool_{at}"]
    parameters = declaration(tool)["parameters"]
    assert parameters["properties"]["x"] == declared
    arguments = {} if sent is None else {"x": sent}
    may_be_left_out = " = " in SIGNATURES[at][0] or SIGNATURES[at][0].endswith("| None")
    assert parameters.get("required", []) == ([] if may_be_left_out else ["x"])
    assert fault_in(tool, arguments) is None
    result = await tool.arun(json.loads(json.dumps(arguments)))
    assert text_of(result) == got


@pytest.mark.parametrize(
    ("at", "sent", "fault"),
    [(at, sent, fault) for at, (_, sent, fault) in enumerate(REFUSED, len(SIGNATURES))],
    ids=[f"{annotation} {sent}" for annotation, sent, _ in REFUSED],
)
def test_what_does_not_fit_an_annotation_is_told_to_the_model(
    folder: ToolFolder, at: int, sent: Any, fault: str
) -> None:
    assert fault in (fault_in(folder.tools[f"tool_{at}"], {} if sent is None else {"x": sent}) or "")
