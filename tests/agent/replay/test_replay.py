"""Record, replay: what a caller got over a real socket comes again in virtual time; and what tells of a change."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agent.replay import run_file as runs
from agent.replay.compare import Difference, differences
from agent.replay.run_file import RunFile, dump_run, load_run, save_run
from api.cli.main import app
from api.replay.player import Project, replay
from tests.support.backend import ROOT, SECRET, Backend, Caller, served, stopped
from tests.support.gemini import Answer, Gemini, Json, Step, calls, cut, error, stall, text, thought
from tests.support.recordings import TOOLS, project, pytest_on, record_once, recorded, replayed, write_tools
from tests.support.run_files import project as checkout

COUNTING = text("One two three four five six seven eight.", delay=0.02)


class Scene:
    """A conversation to be recorded. settings: the server's. steps: the model's."""

    def __init__(self, play: Callable[[Caller], Awaitable[object]], *steps: Step, **settings: Any) -> None:
        self.play = play
        self.steps = steps
        self.settings = settings


def says(*lines: str) -> Callable[[Caller], Awaitable[object]]:
    async def play(caller: Caller) -> None:
        for line in lines:
            await caller.say(line)

    return play


def hangs_up(at: float | None = None, after: int | None = None, **then: Any) -> Callable[[Caller], Awaitable[object]]:
    """The first turn's line is dropped; a second turn comes at once, a third when everything is quiet."""

    async def play(caller: Caller) -> None:
        await caller.say("Do it", turn="a", hang_up_at=at, hang_up_after=after)
        await caller.say("So?", turn="b", **then)
        await asyncio.sleep(0.2)
        await caller.say("And?", turn="c")

    return play


async def superseded(caller: Caller) -> None:
    """A newer message comes while the older one's stream is open."""
    first = asyncio.create_task(caller.say("Do it", turn="a"))
    await asyncio.sleep(0.2)
    await caller.say("So?", turn="b", heard=("a", "One two"))
    await first
    await asyncio.sleep(0.2)
    await caller.say("And?", turn="c")


async def data_comes_too(caller: Caller) -> None:
    await caller.say(None, type="data", turn="d1", data={"cart": [1, None, "é"]})
    first = asyncio.create_task(caller.say("Count", turn="a"))
    await asyncio.sleep(0.05)
    await caller.say(None, type="data", turn="d2", data="more")
    await first
    await caller.say("What?", turn="b")


async def starts(caller: Caller) -> None:
    await caller.say(None, type="session.start")
    await caller.say("Hi")


async def sent_twice(caller: Caller) -> None:
    await caller.say("Hi", turn="a")
    await caller.say("Hi", turn="a")
    await caller.say("And?", turn="b")


async def heard_elsewhere(caller: Caller) -> None:
    await caller.say("Hi", turn="a")
    await caller.say("And?", turn="b", heard=("turn_99", "Hello"))


async def confirmed_late(caller: Caller) -> None:
    """The caller hangs up while what they have agreed to is being done."""
    await caller.say("Book", turn="a")
    await caller.say("Yes", turn="b", hang_up_after=2)
    await asyncio.sleep(0.2)
    await caller.say("And?", turn="c")


def falters(words: str) -> Answer:
    """Says three words, and the others much later: what is cut in between is cut after the third."""
    answer = text(words, delay=0.02)
    return replace(answer, chunks=(*answer.chunks[:3], *(replace(chunk, delay=9) for chunk in answer.chunks[3:])))


HELLO, YES = text("Hello there."), text("Yes?")
SCENES = {
    "words": Scene(says("Hi", "And?"), HELLO, thought("Hm.", text("I think so.", signature=True), delay=0.02)),
    "hung up after some words": Scene(hangs_up(after=3, heard=("a", "one, TWO")), COUNTING, YES, YES),
    "hung up at some time": Scene(hangs_up(at=0.2), falters("One two three four."), YES, YES),
    "a blank message": Scene(says("  ", "Hi"), HELLO),
    "an interruption of an unknown turn": Scene(heard_elsewhere, HELLO, YES),
    "a webhook sent twice": Scene(sent_twice, HELLO, YES),
    "a newer message": Scene(superseded, falters("One two three four."), YES, YES),
    "data": Scene(data_comes_too, COUNTING, HELLO),
    "a welcome": Scene(starts, HELLO, welcome_message="Good evening."),
    "a slow first token": Scene(says("Hi"), stall(30, text("Late.")), HELLO, first_token_seconds=1.5),
    "an error": Scene(says("Hi"), error(503), HELLO),
    "two errors": Scene(says("Hi", "And?"), error(503), error(503), HELLO),
    "an error and a fallback": Scene(
        says("Hi"), error(503), error(503), HELLO, model_fallback="google_genai:gemini-other"
    ),
    "three errors": Scene(
        says("Hi"), error(503), error(503), error(503), model_fallback="google_genai:gemini-other"
    ),
    "a stream that breaks off": Scene(says("Hi", "And?"), cut(text("One two three."), after=2), YES),
    "an empty answer": Scene(says("Hi"), text(""), text("")),
    "a turn that takes too long": Scene(says("Hi"), text("And so on", delay=0.2), turn_timeout_seconds=0.3),
    "a tool": Scene(says("Weather?"), calls(("weather", {"city": "Paris"})), HELLO),
    "a tool that tells how it gets on": Scene(says("Go"), calls(("talkative", {})), HELLO),
    "a tool that is slow": Scene(says("Go"), calls(("count", {"number": 7})), HELLO),
    "parallel tools": Scene(
        says("Go"),
        calls(("weather", {"city": "Rome"}), ("order", {"thing": "tea"}), ("talkative", {"seconds": 0.08})),
        HELLO,
    ),
    "parallel tools, called apart": Scene(
        says("Go"),
        calls(("order", {"thing": "tea"}), ("weather", {"city": "Rome"}), apart=True, delay=0.02, text="I do it."),
        HELLO,
    ),
    "tools that fail": Scene(
        says("Go", "And?", "Then?", "Now?"),
        calls(("broken", {})), HELLO, calls(("stuck", {})), HELLO, calls(("none", {})), HELLO,
        calls(("order", {"wrong": 1})), HELLO,
    ),
    "as many steps as may be": Scene(
        says("Go"), calls(("weather", {"city": "Rome"})), calls(("weather", {"city": "Oslo"})), HELLO, max_tool_steps=2
    ),
    "hung up during a tool that is cancelled": Scene(
        hangs_up(after=2), calls(("weather", {"city": "Paris", "seconds": 5})), YES, YES
    ),
    "hung up during a tool that finishes": Scene(
        hangs_up(after=1), calls(("order", {"thing": "tea", "seconds": 0.1})), YES, YES
    ),
    "hung up just before a tool finishes": Scene(
        hangs_up(after=1), calls(("order", {"thing": "tea", "seconds": 0.005})), YES, YES
    ),
    "hung up during a tool that is protected": Scene(hangs_up(after=3), calls(("pay", {"seconds": 0.1})), YES, YES),
    "a newer message during a tool": Scene(superseded, calls(("order", {"thing": "tea", "seconds": 0.3})), YES, YES),
    "a question and a yes": Scene(
        says("Book", "Yes"), calls(("book", {"people": 4})), calls(("confirm", {"yes": True})), HELLO
    ),
    "a question and a no": Scene(
        says("Book", "No"), calls(("book", {"people": 4})), calls(("confirm", {"yes": False})), HELLO
    ),
    "hung up during what was agreed": Scene(
        confirmed_late, calls(("book", {"people": 4, "seconds": 0.05})), calls(("confirm", {"yes": True})), HELLO
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "settings", {json.dumps(scene.settings): scene.settings for scene in SCENES.values()}.values(), ids=str
)
async def test_what_was_sent_comes_again_and_the_model_is_shown_what_it_was_shown(
    gemini: Gemini, start: Any, tmp_path: Path, subtests: pytest.Subtests, settings: dict[str, Any]
) -> None:
    """Compared with the bodies of the requests that Gemini's stand-in got, not only with the file."""
    tools = write_tools(tmp_path / "made")
    backend: Backend = await start(tools_dir=tools, **settings)
    for name, scene in ((name, scene) for name, scene in SCENES.items() if scene.settings == settings):
        with subtests.test(name):
            gemini.script(*scene.steps)
            before = len(gemini.requests)
            await scene.play(backend.caller(name))
            run = await recorded(
                backend, name, database_url=f"sqlite:///{tmp_path}/voice.db", tools_dir=tools, **settings
            )
            await asyncio.to_thread(replayed, run, project(tools))
            asked = [_contents(request.body) for request in gemini.requests[before:]]
            assert [shown for call, shown in _shown(run) if shown in asked or not _gave_up_at_once(call)] == asked
            gemini.verify()


def _gave_up_at_once(call: runs.RecordedModelCall) -> bool:
    """Whether the caller may have hung up before the request had left."""
    return call.ended == "left" and not call.chunks


def _shown(run: RunFile) -> list[tuple[runs.RecordedModelCall, list[tuple[str, ...]]]]:
    """Each model call, and what it was shown, by the file."""
    made: list[tuple[runs.RecordedModelCall, list[tuple[str, ...]]]] = []
    lines: list[Json] = []
    for call in (call for turn in run.turns for call in turn.models):
        lines = [*lines[: call.same], *call.then]
        made.append((call, _joined([part for line in lines for part in _of_line(line)])))
    return made


def _of_line(line: Json) -> list[tuple[str, ...]]:
    if "caller" in line:
        return [("user", line["caller"])]
    if "tool" in line:
        return [("result", line["tool"], line["result"])]
    called = [("call", c["name"], json.dumps(c["arguments"], sort_keys=True)) for c in line.get("calls", [])]
    return [*([("model", line["agent"])] if line["agent"] else []), *called]


def _contents(body: Json) -> list[tuple[str, ...]]:
    """What a request shows."""
    made: list[tuple[str, ...]] = []
    for content in body["contents"]:
        for part in content["parts"]:
            if call := part.get("functionCall"):
                made.append(("call", call["name"], json.dumps(call.get("args", {}), sort_keys=True)))
            elif answer := part.get("functionResponse"):
                made.append(("result", answer["name"], str(answer["response"].get("output"))))
            elif part.get("text") and not part.get("thought"):
                made.append((content["role"], part["text"]))
    return _joined(made)


def _joined(parts: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """With the texts of one speaker made one."""
    made: list[tuple[str, ...]] = []
    for speaker, group in itertools.groupby(parts, key=lambda part: part[0] if len(part) == 2 else part):
        texts = list(group)
        made += [(str(speaker), "".join(part[1] for part in texts))] if isinstance(speaker, str) else texts
    return made


async def test_a_hang_up_before_the_model_was_asked_replays_as_a_hang_up(
    gemini: Gemini, start: Any, tmp_path: Path
) -> None:
    gemini.answer = lambda _: text("Yes?")
    backend: Backend = await start(tools_dir=write_tools(tmp_path / "made"))
    caller = backend.caller("c1")
    first = asyncio.create_task(caller.say("Hi", turn="a"))
    await asyncio.sleep(0.002)
    await caller.say("So?", turn="b")
    await first
    settings = {"database_url": f"sqlite:///{tmp_path}/voice.db", "tools_dir": tmp_path / "made"}
    run = await recorded(backend, "c1", **settings)
    await asyncio.to_thread(replayed, run, project(tmp_path / "made"))
    assert run.turns[-1].models[-1].then[-1]["caller"].endswith("So?")


async def outlived(
    gemini: Gemini, start: Any, tmp_path: Path, play: Callable[[Caller], Awaitable[object]], *steps: Any
) -> tuple[RunFile, runs.RecordedToolCall, Project]:
    """The run file of a conversation in which a call outlived its turn; that call; what it is replayed against."""
    tools = write_tools(tmp_path / "made")
    backend: Backend = await start(tools_dir=tools)
    gemini.script(*steps)
    await play(backend.caller("c1"))
    run = await recorded(backend, "c1", database_url=f"sqlite:///{tmp_path}/voice.db", tools_dir=tools)
    (call,) = run.turns[0].tools
    assert call.late
    return run, call, project(tools)


def goes_on(after: int, pause: float) -> Callable[[Caller], Awaitable[object]]:
    """The line is dropped after so many events; the caller speaks once more, so many seconds later."""

    async def play(caller: Caller) -> None:
        await caller.say("Do it", turn="a", hang_up_after=after)
        await asyncio.sleep(pause)
        await caller.say("So?", turn="b")

    return play


async def test_a_tool_that_ended_while_a_later_turn_ran_does_so_again_however_short_it_was(
    gemini: Gemini, start: Any, tmp_path: Path
) -> None:
    order = calls(("order", {"thing": "tea", "seconds": 0.1}))
    run, call, against = await outlived(gemini, start, tmp_path, hangs_up(after=1), order, YES, YES)
    assert call.after == "b"
    call.ms = 1  # as if it had ended just before the second turn, and had been entered just after it began
    await asyncio.to_thread(replayed, run, against)
    assert "Still running" in str(run.turns[1].models[0].then)


async def test_a_tool_that_ended_when_nobody_was_there_any_more_is_told_to_nobody(
    gemini: Gemini, start: Any, tmp_path: Path
) -> None:
    pay = calls(("pay", {"seconds": 0.4}))
    run, call, against = await outlived(gemini, start, tmp_path, goes_on(after=2, pause=0), pay, YES)
    assert call.told == ""
    await asyncio.to_thread(replayed, run, against)
    assert "Still running" in str(run.turns[1].models[0].then)


async def test_a_tool_that_ended_in_the_moment_in_which_a_later_turn_began_is_told_in_it_again(
    gemini: Gemini, start: Any, tmp_path: Path
) -> None:
    order = calls(("order", {"thing": "tea", "seconds": 0.1}))
    run, call, against = await outlived(gemini, start, tmp_path, goes_on(after=1, pause=0.3), order, YES)
    assert (call.told, call.after) == ("b", "")
    run.turns[1].at = call.ms - 1  # as if the turn had been sent just before that end, and had looked just after it
    await asyncio.to_thread(replayed, run, against)
    assert "Finished meanwhile" in str(run.turns[1].models[0].then)


# The same again


async def books_a_table(caller: Caller) -> None:
    await caller.say("A table for four tomorrow at seven", from_phone_number="+14155550123")
    await caller.say("Yes", from_phone_number="+14155550123", hang_up_after=6)
    await caller.say("What time is it in Tokyo, and what have I booked?", heard=("turn_2", "It is booked"))


@pytest.fixture(scope="module")
def recorded_table(tmp_path_factory: pytest.TempPathFactory) -> RunFile:
    return record_once(
        tmp_path_factory.mktemp("table"), ROOT / "tools", books_a_table,
        calls(("book_table", {"people": 4, "time": "19:00", "date": "2027-01-05"})),
        calls(("confirm", {"yes": True})),
        text("It is booked, under number one two three.", delay=0.02),
        calls(("clock", {"place": "Tokyo"}), ("list_bookings", {})),
        text("It is late there."),
    )  # fmt: skip


@pytest.fixture
def table(recorded_table: RunFile) -> RunFile:
    """A table is booked, with the project's own tools; the caller interrupts, and asks for the time."""
    return recorded_table.model_copy(deep=True)


async def test_a_hundred_replays_are_the_same_to_the_byte(table: RunFile) -> None:
    def replays() -> None:
        first = replay(table, checkout())
        for _ in range(99):
            again = replay(table, checkout())
            assert [stream.raw for stream in again.streams] == [stream.raw for stream in first.streams]
            assert dump_run(again.run) == dump_run(first.run) == dump_run(table)

    await asyncio.to_thread(replays)


async def test_twenty_turns_replay_in_under_a_second(table: RunFile) -> None:
    """Each of them with a tool call, 40 seconds of the caller's time after the one before."""
    last = table.turns[-1].model_dump_json()
    turns = [runs.RecordedTurn.model_validate_json(last.replace("turn_3", f"turn_{10 + n}")) for n in range(20)]
    for number, turn in enumerate(turns):
        turn.at = number * 40_000
    run = table.model_copy(update={"turns": turns})

    def seconds() -> float:
        began = time.perf_counter()
        came = replay(run, checkout())
        assert all(stream.ended == 1 for stream in came.streams)
        return time.perf_counter() - began

    assert min([await asyncio.to_thread(seconds) for _ in range(3)]) < 1


async def test_a_recorded_file_is_a_green_test_without_a_network_and_a_changed_one_is_red_for_its_cause(
    table: RunFile, tmp_path: Path
) -> None:
    """In pytest, by being there. The cause is the first line of the report; what is no run is told in a sentence."""
    stale = table.model_copy(deep=True)
    stale.prompt[0] = stale.prompt[0].replace("friendly", "brisk")
    stale.turns[2].webhook["text"] = "What time is it?"
    save_run(table, tmp_path / "runs" / "table.json")
    save_run(stale, tmp_path / "runs" / "stale.json")
    (tmp_path / "runs" / "other.txt").write_text("Not a run.")
    (tmp_path / "runs" / "damaged.json").write_text(dump_run(table).replace('"at"', '"et"', 1))
    result = await asyncio.to_thread(pytest_on, tmp_path / "runs")
    lines = result.stdout.splitlines()
    assert lines[-1].startswith("2 failed, 1 passed"), result.stdout + result.stderr
    assert f"{tmp_path}/runs/damaged.json is a damaged run file: turns.0.at: field required." in lines
    assert "Traceback" not in result.stdout
    assert "run_files.py" not in result.stdout
    heading = next(n for n, line in enumerate(lines) if "the recorded conversation stale" in line)
    assert lines[heading + 1] == "The prompt has changed."
    assert "Turn 3: the model was shown something else in call 1." in lines
    assert f"If this is meant: voice replay --update {tmp_path}/runs/stale.json" in lines
    assert result.returncode == 1


# What tells of a change


def first_lines(run: RunFile, against: Project) -> list[str]:
    return [difference.cause for difference in differences(run, replay(run, against).run)]


def found(run: RunFile, against: Project) -> Difference:
    return differences(run, replay(run, against).run)[0]


@pytest.fixture(scope="module")
def recorded_parallel(tmp_path_factory: pytest.TempPathFactory) -> RunFile:
    folder = tmp_path_factory.mktemp("parallel")
    tools = calls(("weather", {"city": "Paris"}), ("order", {"thing": "tea"}))
    return record_once(folder, write_tools(folder / "made"), says("Go", "Bye"), tools, text("Sunny."), text("Bye."))


@pytest.fixture
def parallel(recorded_parallel: RunFile, tmp_path: Path) -> tuple[RunFile, Path]:
    """One turn with two tools at once, one more with none; and the tools."""
    return recorded_parallel.model_copy(deep=True), write_tools(tmp_path / "made")


def changed(tools: Path, old: str, new: str) -> Project:
    assert old in TOOLS
    return project(write_tools(tools.with_name("changed"), TOOLS.replace(old, new)))


CHANGED_TOOLS = {
    "renamed": ("async def weather(", "async def forecast(", "The tool weather has been renamed forecast."),
    "described otherwise": (
        "The weather in a city.",
        "The weather.",
        "The description of the tool weather has changed.",
    ),
    "another default": (
        "city: str, seconds: float = 0.03",
        "city: str, seconds: float = 9",
        "The arguments of the tool weather have changed.",
    ),
    "one more argument": (
        "async def order(thing: str, ",
        "async def order(thing: str, size: str = 'small', ",
        "The arguments of the tool order have changed.",
    ),
    "gone": ("@voice_tool(timeout=0.08", "(lambda **_: lambda f: f)(timeout=0.08", "The tool stuck is gone."),
    "another line": (
        "Checking {city}.",
        "Looking at {city}.",
        'Turn 1: the caller hears "Looking at Paris." instead of "Checking Paris.".',
    ),
    "no line": ('say="Checking {city}.", ', "", 'Turn 1: the caller no longer hears "Checking Paris.".'),
}


@pytest.mark.parametrize("change", CHANGED_TOOLS)
async def test_a_changed_tool_is_named_in_the_first_line(parallel: tuple[RunFile, Path], change: str) -> None:
    run, tools = parallel
    old, new, sentence = CHANGED_TOOLS[change]
    against = changed(tools, old, new)
    assert (await asyncio.to_thread(first_lines, run, against))[0] == sentence


_NEW_LINE = "@voice_tool\nasync def order", '@voice_tool(say="Ordering {thing}.")\nasync def order'


async def test_a_new_line_is_told(tmp_path: Path) -> None:
    tools = write_tools(tmp_path / "made")
    order = calls(("order", {"thing": "tea"}))
    run = await asyncio.to_thread(record_once, tmp_path, tools, says("Go"), order, text("Ordered."))
    lines = await asyncio.to_thread(first_lines, run, changed(tools, *_NEW_LINE))
    assert lines[-1] == 'Turn 1: the caller also hears "Ordering tea.".'


async def test_a_new_line_beside_another_one_is_not_said_and_changes_nothing(parallel: tuple[RunFile, Path]) -> None:
    """Calls that begin together are announced once."""
    run, tools = parallel
    assert await asyncio.to_thread(first_lines, run, changed(tools, *_NEW_LINE)) == []


async def test_the_order_of_two_tools_is_told_with_the_new_one(parallel: tuple[RunFile, Path]) -> None:
    run, tools = parallel
    functions = TOOLS.split("\n\n@")
    functions[1], functions[2] = functions[2], functions[1]
    against = project(write_tools(tools.with_name("turned"), "\n\n@".join(functions)))
    difference = await asyncio.to_thread(found, run, against)
    assert difference.cause == "The order of the tools has changed."
    assert difference.diff == ["+order", " weather", "-order", " pay"]


async def test_a_word_in_the_prompt_is_told_with_its_line(parallel: tuple[RunFile, Path]) -> None:
    run, tools = parallel
    today = project(tools)
    config = replace(today.config, prompt=today.config.prompt.replace("friendly", "brisk"))
    all_ = await asyncio.to_thread(lambda: differences(run, replay(run, replace(today, config=config)).run))
    assert [difference.cause for difference in all_] == ["The prompt has changed."]
    removed, added = [line for line in all_[0].diff if line[0] in "-+"]
    assert "friendly" in removed
    assert "brisk" in added


def edited(run: RunFile, *edits: tuple[str, str]) -> RunFile:
    """A run with its recorded answers changed by hand; what it expects is left."""
    answers = [[call.model_dump_json() for call in turn.models] for turn in run.turns]
    for old, new in edits:
        assert any(old in answer for turn in answers for answer in turn)
        answers = [[answer.replace(old, new) for answer in turn] for turn in answers]
    copy = run.model_copy(deep=True)
    for turn, made in zip(copy.turns, answers, strict=True):
        turn.models = [runs.RecordedModelCall.model_validate_json(answer) for answer in made]
    return copy


async def test_a_changed_argument_is_told_apart_from_what_follows_from_it(parallel: tuple[RunFile, Path]) -> None:
    run, tools = parallel
    lines = await asyncio.to_thread(first_lines, edited(run, ("Paris", "Rome")), project(tools))
    assert lines == [
        "Turn 1: the tool weather was called with other arguments.",
        "Turn 1: the model was shown something else in call 2.",
        'Turn 1: the caller hears "Checking Rome." instead of "Checking Paris.".',
        "Turn 2: the model was shown something else in call 1.",
    ]


async def test_another_tool_another_order_and_a_call_less_are_told_apart(parallel: tuple[RunFile, Path]) -> None:
    run, tools = parallel
    weather, order = run.turns[0].tools

    async def first(expected: list[runs.RecordedToolCall]) -> str:
        copy = run.model_copy(deep=True)
        copy.turns[0].tools = expected
        return (await asyncio.to_thread(first_lines, copy, project(tools)))[0]

    assert await first([order, weather]) == "Turn 1: the tools were called in another order."
    assert await first([weather]) == "Turn 1: unexpected call of the tool order."
    assert await first([weather, order, order]) == "Turn 1: the tool order was not called."
    stood = order.model_copy(update={"name": "pay"})
    assert await first([weather, stood]) == "Turn 1: the tool order was called instead of pay."


async def test_a_model_call_too_many_and_an_answer_not_used_are_told_apart(parallel: tuple[RunFile, Path]) -> None:
    run, tools = parallel
    too_many, unused = run.model_copy(deep=True), run.model_copy(deep=True)
    too_many.turns[0].models.pop()
    unused.turns[0].models.append(run.turns[1].models[0].model_copy())
    difference = await asyncio.to_thread(found, too_many, project(tools))
    assert difference.cause == "Turn 1: unexpected model call, the second of the turn."
    assert difference.diff[-1] == '+ {"tool": "order", "result": "Ordered tea."}'
    difference = await asyncio.to_thread(found, unused, project(tools))
    assert difference == Difference("Turn 1: recorded answer 3 of the model was not used.", ['- {"agent": "Bye."}'])


async def test_what_the_model_was_shown_is_told_with_a_diff(parallel: tuple[RunFile, Path]) -> None:
    run, tools = parallel
    copy = run.model_copy(deep=True)
    copy.turns[1].webhook["text"] = "Good-bye"
    difference = await asyncio.to_thread(found, copy, project(tools))
    assert difference.cause == "Turn 2: the model was shown something else in call 1."
    assert difference.diff[-2:] == ['-{"caller": "Bye"}', '+{"caller": "Good-bye"}']


async def test_the_same_at_other_times_is_told_as_that(parallel: tuple[RunFile, Path]) -> None:
    run, tools = parallel
    copy = run.model_copy(deep=True)
    copy.turns[0].tools[0].ms -= 15
    lines = await asyncio.to_thread(first_lines, copy, project(tools))
    assert lines == ["Turn 1: the same was sent at other times."]


# From a server's database


def answers(body: Json) -> Step:
    """A tool call for every question with a number in it, then words."""
    last = body["contents"][-1]["parts"][0]
    if "functionResponse" in last:
        return text("That is done.")
    words = last["text"].rpartition("\n")[2]
    return (
        calls(("order", {"thing": words}))
        if words[-1].isdigit()
        else text("Hello there, +14155550123.", tokens=9, delay=0.03)
    )


async def test_ten_turns_of_a_real_server_are_recorded_by_the_command_and_at_sigterm(
    gemini: Gemini, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both files replay green. Neither holds the caller's number, which the model said in pieces, or a secret."""
    gemini.answer = answers
    write_tools(tmp_path / "tools")
    env = {
        "GOOGLE_API_KEY": "test-key-0123456789",
        "GOOGLE_GEMINI_BASE_URL": gemini.url,
        "DATABASE_URL": f"sqlite:///{tmp_path}/voice.db",
        "TOOLS_DIR": str(tmp_path / "tools"),
        "LAYERCODE_WEBHOOK_SECRET": SECRET,
    }
    async with served(**env, RECORD_RUNS=str(tmp_path / "recorded")) as backend:
        caller = backend.caller("conv/1")
        for number in range(9):
            await caller.say(f"Hi {SECRET}, this is turn {number}" if number % 2 else "Hello")
        await caller.say("Hi", hang_up_after=2, from_phone_number="+14155550123")
        await asyncio.sleep(0.3)
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        command = ["record", "--conversation", "conv/1", "--out", str(tmp_path / "runs" / "by-hand.json")]
        result = await asyncio.to_thread(CliRunner().invoke, app, command)
        assert result.stdout == f"{tmp_path}/runs/by-hand.json: 10 turns\n"
        assert result.exit_code == 0
        result = await asyncio.to_thread(CliRunner().invoke, app, [*command[:-1], str(tmp_path)])
        assert (result.stderr, result.exit_code) == (f"{tmp_path} cannot be written: Is a directory.\n", 2)
        assert backend.process
        assert (await stopped(backend.process))[0] == 0

    by_hand, (at_sigterm,) = tmp_path / "runs" / "by-hand.json", (tmp_path / "recorded").iterdir()
    assert by_hand.read_text() == at_sigterm.read_text()
    assert at_sigterm.match("conv_1*.json")
    assert "+1415" not in by_hand.read_text()
    assert "0123" not in by_hand.read_text()
    run = load_run(by_hand)
    assert run.turns[9].hung_up
    await asyncio.to_thread(replayed, run, project(tmp_path / "tools"))


@pytest.mark.parametrize(
    ("url", "sentence", "status"),
    [
        ("sqlite:///voice.db", "The database has no finished turn of a conversation 'nobody'.", 1),
        ("sqlite:////nowhere/voice.db", "The database sqlite:////nowhere/voice.db cannot be opened: unable to open", 2),
    ],
)
def test_recording_what_is_not_there_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, sentence: str, status: int
) -> None:
    write_tools(tmp_path / "tools")
    monkeypatch.setenv("DATABASE_URL", url)
    result = CliRunner().invoke(app, ["record", "--conversation", "nobody", "--out", "a.json"])
    assert result.exit_code == status
    assert result.stderr.startswith(sentence)
    assert result.stderr.count("\n") == 1
    assert not Path("a.json").exists()
