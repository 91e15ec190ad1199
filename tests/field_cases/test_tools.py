"""Tools as people write them: annotations, LangChain's own tools, results, and what is said while they run."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from typer.testing import CliRunner, Result

from agent import voice_tool
from agent.replay.virtual_time import run_in_virtual_time
from agent.tooling import ToolCall, ToolRun, waiting
from agent.tooling.waiting import WaitingLines
from agent.turns import Say, ToolCallStatus, Turn, TurnRequest
from api.cli.main import app
from api.settings import NotConfigured, Settings
from tests.support.backend import SECRET
from tests.support.conversation import offered, results_in
from tests.support.gemini import Gemini, calls, error, text, thought

HEAD = """
import asyncio, datetime as dt, enum
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from agent import say, voice_tool
from langchain_core.tools import InjectedToolCallId, ToolException, tool
from langgraph.prebuilt import InjectedState, InjectedStore, ToolRuntime
from langgraph.types import Command
from pydantic import BaseModel

@voice_tool
async def clock(place: str) -> str:
    \"\"\"What time it is.\"\"\"
    return f"It is ten in {place}."
"""

Put = Callable[..., Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Write a file of tools, with `clock` at its top unless `head` says otherwise."""

    def write(code: str, name: str = "made.py", head: str = HEAD) -> Path:
        path = tmp_path / "tools" / name
        path.parent.mkdir(exist_ok=True)
        before = path.stat().st_mtime_ns if path.exists() else 0
        path.write_text(head + code)
        os.utime(path, ns=(before + 1_000_000_000, before + 1_000_000_000))
        return path

    return write


@pytest.fixture
def voice(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("LAYERCODE_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("MODEL", "google_genai:gemini-3.5-flash-lite")
    monkeypatch.setenv("GOOGLE_API_KEY", "k")
    return lambda *command: CliRunner().invoke(app, command)


async def result(gemini: Gemini, start: Any, path: Path, call: tuple[str, dict[str, Any]]) -> str:
    """What the model is told that a call has brought."""
    gemini.script(calls(call), text("There you are."))
    reply = await (await start(tools_dir=path.parent)).caller().say("Go")
    assert reply.text.endswith("There you are.")
    return results_in(gemini.requests[-1].body)[-1][1]


def declared(gemini: Gemini, name: str) -> dict[str, Any]:
    functions = [f for tool in gemini.requests[0].body["tools"] for f in tool["functionDeclarations"]]
    return next(f["parameters"] for f in functions if f["name"] == name)


# T2 to T4: what a model can be told


async def test_t2_a_literal_of_numbers_works(gemini: Gemini, start: Any, put: Put) -> None:
    """It is declared as an integer, with its values in words; the tool gets the number."""
    path = put('''
@voice_tool
async def shoes(size: Literal[10, 11, 12]) -> str:
    """Look for shoes."""
    return f"{size + 0} found"
''')
    assert await result(gemini, start, path, ("shoes", {"size": 11})) == "11 found"
    assert declared(gemini, "shoes")["properties"]["size"] == {"type": "INTEGER", "description": "One of: 10, 11, 12."}


async def test_t2_a_number_that_is_not_of_the_literal_is_refused_in_words(gemini: Gemini, start: Any, put: Put) -> None:
    """What the declaration cannot enforce is checked at the call."""
    path = put('''
@voice_tool
async def shoes(size: Literal[10, 11, 12]) -> str:
    """Look for shoes."""
    raise AssertionError
''')
    assert "size: Input should be 10, 11 or 12" in await result(gemini, start, path, ("shoes", {"size": 9}))


async def test_t3_tuples_and_dicts_work(gemini: Gemini, start: Any, put: Put) -> None:
    """Both are declared with what is in them, and come to the tool as it says."""
    path = put('''
@voice_tool
async def mark(place: tuple[float, float], about: dict[str, str]) -> str:
    """Mark a place."""
    return f"{place} {about}"
''')
    call = {"place": [52.5, 13], "about": [{"key": "name", "value": "Berlin"}]}
    assert await result(gemini, start, path, ("mark", call)) == "(52.5, 13.0) {'name': 'Berlin'}"
    properties = declared(gemini, "mark")["properties"]
    assert properties["place"]["items"] == {"type": "NUMBER"}
    assert properties["about"]["items"]["required"] == ["key", "value"]


BAD = {
    "a list of anything": ("things: list", "argument 'things': it does not say what is in the list: write list[str]"),
    "a dict of anything": ("things: dict", "argument 'things': it does not say what is in the dict: write dict[str,"),
    "no annotation": ("things", "argument 'things': it may be anything, and the model must be told what it is"),
    "a state": ("x: Annotated[dict, InjectedState]", "InjectedState is not supported: use an argument that the model"),
    "a store": ("x: Annotated[Any, InjectedStore]", "InjectedStore is not supported: use tool_context().database"),
    "a runtime": ("x: ToolRuntime", "ToolRuntime is not supported: use tool_context()"),
    "a call id": ("x: Annotated[str, InjectedToolCallId]", "InjectedToolCallId is not supported: use tool_context()"),
    "many arguments": ("*x: int", "argument '*x': the model must be told of each argument by its name"),
}  # fmt: skip


@pytest.mark.parametrize("decorator", ["@voice_tool", "@tool"])
@pytest.mark.parametrize(("argument", "words"), BAD.values(), ids=BAD)
def test_t3_t5_what_cannot_be_told_to_a_model_names_file_line_tool_and_what_to_write(
    voice: Callable[..., Result], put: Put, decorator: str, argument: str, words: str
) -> None:
    """`voice tools` lists the others, then says what is wrong, in a line; `voice serve` and the check say it too."""
    path = put(f'\n{decorator}\nasync def bad({argument}) -> str:\n    """It is bad."""\n')
    line = path.read_text().splitlines().index(decorator, 15) + 1
    listed = voice("tools")
    assert listed.exit_code == 2
    assert listed.stdout.startswith("clock(place)  tools/made.py\n")
    (fault,) = listed.stderr.splitlines()
    assert fault.startswith(f"tools/made.py:{line}: tool 'bad': ")
    assert words in fault
    assert voice("serve", "--port", "0").stderr.splitlines() == [fault]


def test_t2_the_check_names_a_bad_tool(voice: Callable[..., Result], put: Put) -> None:
    put('\n@voice_tool\nasync def bad(things: list) -> str:\n    """It is bad."""\n')
    checked = voice("dev", "--check")
    assert "problem  tools and prompt: tools/made.py:17: tool 'bad': argument 'things'" in checked.stdout


async def test_t2_one_bad_tool_takes_no_other_down_also_in_a_hot_reload(
    gemini: Gemini, start: Any, put: Put, caplog: pytest.LogCaptureFixture
) -> None:
    """The last good version of the bad one stays, the other tools of its file work on, and the log says what is
    wrong."""
    good = '\n@voice_tool\nasync def shoes(size: int) -> str:\n    """Look for shoes."""\n    return "three"\n'
    path = put(good)
    backend = await start(tools_dir=path.parent)
    backend.agent._conversations.config = _reloading(backend.agent._conversations.config)
    put(good.replace("int", "list").replace("three", "four"))
    gemini.script(calls(("shoes", {"size": 1}), ("clock", {"place": "Rome"})), text("Done."))
    with caplog.at_level(logging.ERROR):
        reply = await backend.caller().say("Go")
    assert reply.text == "Done."
    assert offered(gemini.requests[0].body) == {"clock", "shoes"}
    assert results_in(gemini.requests[-1].body) == [("shoes", "three"), ("clock", "It is ten in Rome.")]
    assert "made.py:17: tool 'shoes': argument 'size'" in caplog.text


def _reloading(config: Any) -> Any:
    return replace(config, reload_tools=True)


@pytest.mark.parametrize("name", ["look up, please!", "confirm", "x" * 65])
def test_t4_a_langchain_tool_with_a_name_that_no_function_may_have_is_refused_by_name(
    voice: Callable[..., Result], put: Put, name: str
) -> None:
    put(f'\n@tool("{name}")\ndef bad(x: int) -> str:\n    """It is bad."""\n')
    listed = voice("tools")
    assert listed.stdout.startswith("clock(place)")
    assert f"made.py:17: tool {name!r}: a name has letters, digits and _" in listed.stderr


def test_t2_the_declaration_of_a_tool_can_be_seen(voice: Callable[..., Result], put: Put) -> None:
    """`voice tools --schema` prints what Gemini gets."""
    put("")
    shown = voice("tools", "--schema", "clock")
    assert '"place": {\n        "type": "STRING"\n      }' in shown.stdout
    assert voice("tools", "--schema", "clocks").stderr == "There is no tool clocks. There are: clock.\n"


# T6, T7: what a tool is


OTHERS = {
    "a command": ("@tool\ndef bad(x: int) -> Command:", "it returns a Command"),
    "return_direct": ("@tool(return_direct=True)\ndef bad(x: int) -> str:", "return_direct is not supported"),
    "an async generator": ("@voice_tool\nasync def bad(x: int) -> AsyncIterator[str]:", "it yields: speak lines with"),
    "a generator": ("@tool\ndef bad(x: int) -> str:", "it yields: speak lines with say()"),
}  # fmt: skip


@pytest.mark.parametrize(("head", "words"), OTHERS.values(), ids=OTHERS)
def test_t6_t7_what_a_tool_may_not_be_is_refused_by_name(
    voice: Callable[..., Result], put: Put, head: str, words: str
) -> None:
    put(f'\n{head}\n    """It is bad."""\n    {"yield" if "yields" in words else "return"} "x"\n')
    fault = voice("tools").stderr
    assert fault.startswith("tools/made.py:17: tool 'bad': ")
    assert words in fault


# T8 to T10: what comes back


RESULTS = {
    "a list": ('["Rome", "Paris"]', ["Rome", "Paris"]),
    "a dataclass": ("Place('Rome', dt.date(2026, 12, 24))", {"name": "Rome", "day": "2026-12-24"}),
    "a pydantic model": ("Table(people=4, seat=Seat.WINDOW)", {"people": 4, "seat": "by the window", "price": 0}),
    "models in a list": ("[Table(people=1, seat=Seat.WINDOW)]", [{"people": 1, "seat": "by the window", "price": 0}]),
    "an enum": ("Seat.WINDOW", "by the window"),
    "a time": ("dt.datetime(2026, 12, 24, 19, 30)", "2026-12-24T19:30:00"),
    "bytes": ("b'It is on.'", "It is on."),
    "bytes that are no text": (r"b'\xff\xfe'", "//4="),
    "a set": ("{7}", [7]),
    "no number": ("{'price': float('nan'), 'most': float('inf')}", {"price": None, "most": None}),
    "no number in a dataclass": ("Place('Rome', float('nan'))", {"name": "Rome", "day": None}),
    "a number as a text": ("'5E3'", "5E3"),
    "a price as a text": ("'1.10'", "1.10"),
    "a text that is no JSON": ("'NaN'", "NaN"),
    "a list with no number, as a text": ("'[NaN, 1e999]'", "[NaN, 1e999]"),
    "a truth": ("True", "true"),
    "a number": ("21.5", "21.5"),
    "the text null": ("'null'", "null"),
    "nothing": ("None", "Done."),
    "LangChain's blocks": ("[{'type': 'text', 'text': 'It is on.'}]", "It is on."),
}  # fmt: skip
KINDS = """
@dataclass
class Place:
    name: str
    day: dt.date

class Seat(enum.Enum):
    WINDOW = "by the window"

class Table(BaseModel):
    people: int
    seat: Seat
    price: float = 0

"""


def response(gemini: Gemini) -> Any:
    """What Gemini got for the last call: an object as it is, all else as `output`."""
    parts = [
        p["functionResponse"]["response"]
        for c in gemini.requests[-1].body["contents"]
        for p in c["parts"]
        if "functionResponse" in p
    ]
    return parts[-1].get("output", parts[-1])


@pytest.mark.parametrize("fast", [True, False], ids=["fast path", "library"])
@pytest.mark.parametrize("decorator", ["@voice_tool", "@tool"])
async def test_t8_t9_a_result_is_json_and_a_text_stays_a_text(
    gemini: Gemini, start: Any, put: Put, decorator: str, fast: bool
) -> None:
    """Whatever a tool returns, Gemini gets it as valid JSON; what is text is the same text."""
    code = "".join(
        f'\n{decorator}\nasync def tool_{number}() -> Any:\n    """Returns."""\n    return {value}\n'
        for number, (value, _) in enumerate(RESULTS.values())
    )
    path = put(KINDS + code)
    backend = await start(tools_dir=path.parent, gemini_fast=fast)
    for number, (name, (_, right)) in enumerate(RESULTS.items()):
        gemini.script(calls((f"tool_{number}", {})), text("There you are."))
        await backend.caller().say("Go")
        assert response(gemini) == right, name


@pytest.mark.parametrize("fast", [True, False], ids=["fast path", "library"])
async def test_t10_a_long_text_is_cut_at_the_end_of_a_line_and_says_how_much_is_missing(
    gemini: Gemini, start: Any, put: Put, fast: bool
) -> None:
    path = put(
        '\n@voice_tool\nasync def log() -> str:\n    """The log."""\n    return "A line of the log.\\n" * 1_500\n'
    )
    gemini.script(calls(("log", {})), text("There you are."))
    await (await start(tools_dir=path.parent, gemini_fast=fast)).caller().say("Go")
    lines, _, note = response(gemini).partition(" … ")
    assert set(lines.split("\n")) == {"A line of the log."}
    missing = 19 * 1_500 - len(lines) - 1
    assert note == f"[{missing:,} of 28,500 characters are missing here, as it was too long.]"
    assert 7_000 < len(response(gemini)) <= 8_000


async def test_t10_long_json_stays_json_and_loses_whole_elements(gemini: Gemini, start: Any, put: Put) -> None:
    path = put('''
@voice_tool
async def rows() -> Any:
    """Rows."""
    return {"count": 900, "rows": [{"row": n} for n in range(900)]}
''')
    gemini.script(calls(("rows", {})), text("There you are."))
    await (await start(tools_dir=path.parent)).caller().say("Go")
    got = response(gemini)
    assert got["count"] == 900
    *rows, note = got["rows"]
    assert rows == [{"row": n} for n in range(len(rows))]
    assert note == f"… [{900 - len(rows)} of 900 elements are missing here, as it was too long.]"
    assert len(rows) > 400


async def test_t7_a_tool_that_returns_what_is_no_result_has_failed_and_the_log_says_why(
    gemini: Gemini, start: Any, put: Put, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the annotation does not tell it beforehand: a Command, a generator, something not awaited."""
    path = put('\n@voice_tool\nasync def odd() -> Any:\n    """Odd."""\n    return Command(update={})\n')
    assert await result(gemini, start, path, ("odd", {})) == (
        "odd failed for a technical reason. It is not certain whether it took effect."
    )
    assert "odd: a tool returned a Command: return text, or what JSON can hold" in caplog.text


# T11: a value as people say it


SAID = {
    "a whole number": ("int", "4.0", "4"),
    "a whole fraction": ("float", 4, "4"),
    "a fraction": ("float", 2.5, "2.5"),
    "a truth": ("bool", True, "yes"),
    "an untruth": ("bool", False, "no"),
    "a list": ("list[str]", ["a", "b"], "a and b"),
    "a longer list": ("list[str]", ["a", "b", "c"], "a, b and c"),
    "a list of numbers": ("tuple[float, float]", [4.0, 5], "4 and 5"),
    "an enum": ("Seat", "by_the_window", "by the window"),
    "an enum of numbers": ("Size", 2, "extra large"),
    "a date": ("dt.date", "2026-12-24", "24 December"),
    "a time": ("dt.time", "19:30:00", "19:30"),
    "a date and time": ("dt.datetime", "2026-12-24T19:30:00", "24 December at 19:30"),
    "a duration": ("dt.timedelta", "PT1H30M", "1 hour 30 minutes"),
    "notation": ("str", "**four** [x](https://x.example)", "four x"),
    "a text that looks like a number": ("str", "1.10", "1.10"),
    "a default": ("dt.date = dt.date(2026, 12, 24)", None, "24 December"),
}
SEATS = """
class Seat(enum.Enum):
    WINDOW = "by_the_window"

class Size(enum.IntEnum):
    EXTRA_LARGE = 2
"""


@pytest.mark.parametrize(("annotation", "given", "said"), SAID.values(), ids=SAID)
async def test_t11_an_argument_is_spoken_as_people_say_it(
    gemini: Gemini, start: Any, put: Put, annotation: str, given: Any, said: str
) -> None:
    """In the announcement and in the question: the value that the tool gets, in words, without notation."""
    path = put(f'''{SEATS}
@voice_tool(say="Taking {{x}}.")
async def take(x: {annotation}) -> str:
    """Take it."""
    return "Taken."

@voice_tool(confirm="Book {{x}}?")
async def book(x: {annotation}) -> str:
    """Book it."""
    return "Booked."
''')
    arguments = {} if given is None else {"x": given}
    gemini.script(calls(("take", arguments)), calls(("book", arguments)))
    reply = await (await start(tools_dir=path.parent)).caller().say("Go")
    assert reply.text == f"Taking {said}. Book {said}?"


async def test_t11_what_a_tool_says_itself_and_the_welcome_are_spoken_without_notation(
    gemini: Gemini, start: Any, put: Put
) -> None:
    path = put('''
from agent import say

@voice_tool
async def look() -> str:
    """Look somewhere."""
    say("**Looking** at [the map](https://x.example), *now*")
    say("```")
    return "Nothing."
''')
    gemini.script(calls(("look", {})), text("Nothing."))
    caller = (await start(tools_dir=path.parent, welcome_message="**Welcome** to `Chez Voice`!")).caller()
    assert (await caller.say(None, type="session.start")).text == "Welcome to Chez Voice!"
    assert (await caller.say("Look")).text == "Looking at the map, now Nothing."


async def test_t11_the_lines_of_the_settings_are_spoken_without_notation(gemini: Gemini, start: Any, put: Put) -> None:
    """The apology, the sentence that ends an answer, the line for a model that thinks: in every language."""
    backend = await start(
        tools_dir=put("").parent,
        apology_message="**Sorry**, ask [the desk](https://x.example) &amp; wait \U0001f642.",
        ending_message={"en": "I *must* stop.", "de": "Ich *muss* enden."},
        thinking_message="*One* `moment`.",
        first_token_seconds=2,
    )
    gemini.script(error(503), error(503))
    assert (await backend.caller().say("Hello?")).text == "Sorry, ask the desk & wait."
    gemini.script(text("Half", finish="SAFETY"))
    assert (await backend.caller().say("?", custom_metadata={"language": "de"})).text == "Half Ich muss enden."
    gemini.script(thought("Hm.", thought("Hm.", text("Yes."), delay=1), delay=1))
    assert (await backend.caller().say("Hello?")).text == "One moment. Yes."


@pytest.mark.parametrize("apology", [" ", "\U0001f642", "```", '{"en": "Sorry.", "de": "**"}'])
def test_t11_an_apology_that_nobody_would_hear_is_one_sentence(apology: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller never gets silence."""
    monkeypatch.setenv("APOLOGY_MESSAGE", apology)
    with pytest.raises(NotConfigured) as refused:
        Settings.load()
    assert refused.value.problems == ("APOLOGY_MESSAGE: There is nothing in it that can be spoken.",)


# T12: what is said meanwhile


async def test_t12_calls_that_begin_together_are_announced_once(gemini: Gemini, start: Any, put: Put) -> None:
    """Of four announcements the caller hears the first; calls of a later step are announced anew."""
    path = put('''
@voice_tool(say="Looking in {place}.")
async def look(place: str) -> str:
    """Look somewhere."""
    return "Nothing."
''')
    four = [("look", {"place": place}) for place in ("Rome", "Oslo", "Bern", "Kyiv")]
    gemini.script(calls(*four), calls(("look", {"place": "Paris"})), text("Nothing anywhere."))
    reply = await (await start(tools_dir=path.parent)).caller().say("Look")
    assert reply.text == "Looking in Rome. Looking in Paris. Nothing anywhere."


LINES = {
    "none": ("", ["One moment, please.", "Still working on it."]),
    "one": ('slow="Looking on.", ', ["Looking on.", "Still working on it."]),
    "several": ('slow=["Looking on.", "And on, for {place}."], ', ["Looking on.", "And on, for Rome."]),
    "only one in a list": ('slow=["Looking on."], ', ["Looking on."]),
    "silence": ('slow="", ', []),
}


@pytest.mark.parametrize(("slow", "lines"), LINES.values(), ids=LINES)
async def test_t12_a_slow_tool_is_not_silent(
    gemini: Gemini, start: Any, put: Put, monkeypatch: pytest.MonkeyPatch, slow: str, lines: list[str]
) -> None:
    """Lines come while it works, its own first, and never the same twice in a row."""
    monkeypatch.setattr(waiting, "_NEXT", 0.3)
    path = put(f'''
@voice_tool({slow}slow_after=0.2)
async def look(place: str) -> str:
    """Look somewhere."""
    await asyncio.sleep(0.7)
    return "Nothing."
''')
    gemini.script(calls(("look", {"place": "Rome"})), text("Nothing."))
    reply = await (await start(tools_dir=path.parent)).caller().say("Look")
    assert reply.text == " ".join([*lines, "Nothing."])


@pytest.mark.parametrize("slow", [None, "Looking on.", ["Looking on.", "Still looking."]])
@pytest.mark.parametrize("at_once", [1, 3])
def test_t12_in_18_seconds_the_caller_hears_a_line_every_few_seconds(slow: Any, at_once: int) -> None:
    """At growing distances, never the same twice in a row, also when several tools wait side by side."""

    async def speak() -> list[tuple[float, str]]:
        turn = Turn(TurnRequest("c", "t"), timeout=60)
        tool = voice_tool(slow=slow)(clock)
        call = ToolCall("k", "k", tool, {"place": "Rome"}, AIMessage(""))
        waits = [WaitingLines(ToolRun(call, turn, ToolCallStatus("clock", {}, turn.now()))) for _ in range(at_once)]
        for wait in waits:
            wait.start()
        await asyncio.sleep(18)
        for wait in waits:
            wait.close()
        await asyncio.sleep(18)
        return [(sent.ms / 1000, sent.event.text.strip()) for sent in turn.events if isinstance(sent.event, Say)]

    said = run_in_virtual_time(speak())
    times, texts = [0.0, *(at for at, _ in said)], [words for _, words in said]
    assert times == pytest.approx([0, 4, 10] if at_once == 1 else times)
    assert all(later - earlier <= 10 for earlier, later in pairwise([*times, 18.0]))
    assert all(one != other for one, other in pairwise(texts))
    assert len(texts) >= 2


async def clock(place: str) -> str:
    """What time it is."""
    return f"It is ten in {place}."
