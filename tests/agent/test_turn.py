"""A voice turn from end to end: signed webhook in, the model asked, tools called, the answer streamed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.backend import Backend
from tests.support.gemini import Gemini, calls, cut, error, stall, text

APOLOGY = "Sorry, something went wrong on my side. Please say that again."


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder of small tools, so that a test shows what they do."""
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "some.py").write_text('''
import asyncio
from agent import voice_tool, say, show

@voice_tool(say="Checking the weather in {city}.", on_barge_in="cancel")
async def weather(city: str) -> str:
    """The weather in a city."""
    return f"Sunny in {city}."

@voice_tool
async def broken() -> str:
    """It fails."""
    raise RuntimeError("the secret is 42")

@voice_tool(timeout=0.05, on_barge_in="cancel")
async def stuck() -> str:
    """It never ends."""
    await asyncio.sleep(60)
    return ""

@voice_tool(slow="Still counting to {number}.", slow_after=0.05)
async def count(number: int) -> str:
    """Counts."""
    await asyncio.sleep(0.15)
    return str(number)

@voice_tool
def talkative(seconds: float = 0.1) -> str:
    """A sync tool that speaks from its thread."""
    import time
    say("Half way.")
    show({"page": [1, None, "é"]})
    say("Half way.")
    time.sleep(seconds)
    return "Done."
''')
    return folder


async def test_a_plain_answer_is_streamed_in_layercodes_framing(gemini: Gemini, start: Any) -> None:
    gemini.script(text("Hello there, friend."))
    backend: Backend = await start()

    reply = await backend.caller().say("Hello?")

    assert reply.status == 200
    assert reply.raw == (
        b'data: {"type":"response.tts","content":"Hello","turn_id":"turn_1"}\n\n'
        b'data: {"type":"response.tts","content":" there,","turn_id":"turn_1"}\n\n'
        b'data: {"type":"response.tts","content":" friend.","turn_id":"turn_1"}\n\n'
        b'data: {"type":"response.end","turn_id":"turn_1"}\n\n'
    )


async def test_a_tool_is_announced_run_and_its_result_answered(gemini: Gemini, start: Any, tools: Path) -> None:
    gemini.script(calls(("weather", {"city": "Paris"})), text("It is sunny in Paris."))
    backend: Backend = await start(tools_dir=tools)

    reply = await backend.caller().say("What's the weather in Paris?")

    assert reply.types[:3] == ["response.tts", "response.data", "response.data"]
    assert reply.events[0][1]["content"] == "Checking the weather in Paris."
    started, finished = reply.data
    assert started == {"tool": "weather", "status": "started", "call_id": started["call_id"], "ms": 0}
    assert finished == {**started, "status": "finished", "ms": finished["ms"]}
    assert reply.text == "Checking the weather in Paris. It is sunny in Paris."
    assert reply.ended_once
    result = gemini.requests[1].body["contents"][-1]["parts"][0]["functionResponse"]
    assert result["response"] == {"output": "Sunny in Paris."}


async def test_no_line_is_spoken_when_the_model_has_just_spoken(gemini: Gemini, start: Any, tools: Path) -> None:
    gemini.script(calls(("weather", {"city": "Rome"}), text="Let me look."), text("Sunny."))
    reply = await (await start(tools_dir=tools)).caller().say("Weather in Rome?")
    assert reply.text == "Let me look. Sunny."


async def test_parallel_calls_run_side_by_side_and_answer_in_order(gemini: Gemini, start: Any, tools: Path) -> None:
    gemini.script(
        calls(("count", {"number": 1}), ("count", {"number": 2}), ("weather", {"city": "Oslo"})), text("Done.")
    )
    reply = await (await start(tools_dir=tools)).caller().say("All at once")
    contents = gemini.requests[1].body["contents"]
    outputs = [part["functionResponse"]["response"]["output"] for part in contents[-1]["parts"]]
    assert outputs == ["1", "2", "Sunny in Oslo."]
    assert reply.events[-1][0] < 0.15 * 2 + 1
    starts = [d["status"] for d in reply.data]
    assert starts[:3] == ["started"] * 3
    assert reply.ended_once


async def test_a_slow_tool_speaks_once_and_a_quick_one_not(gemini: Gemini, start: Any, tools: Path) -> None:
    gemini.script(calls(("count", {"number": 7})), text("Seven."))
    reply = await (await start(tools_dir=tools)).caller().say("Count to seven")
    assert reply.text == "Still counting to 7. Seven."


async def test_a_tool_speaks_and_shows_from_its_thread(gemini: Gemini, start: Any, tools: Path) -> None:
    """The same line twice in a row is said once; what is shown reaches the page unchanged."""
    gemini.script(calls(("talkative", {})), text("Ready."))
    reply = await (await start(tools_dir=tools)).caller().say("Go")
    assert reply.text == "Half way. Ready."
    assert {"page": [1, None, "é"]} in reply.data
    assert [d["status"] for d in reply.data if "status" in d] == ["started", "progress", "finished"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("broken", "broken failed for a technical reason. It is not certain whether it took effect."),
        ("stuck", "stuck did not answer within 0.05 seconds and has no result."),
        ("missing", "There is no tool missing."),
    ],
)
async def test_a_failing_tool_is_told_to_the_model_in_words(
    gemini: Gemini, start: Any, tools: Path, name: str, told: str
) -> None:
    gemini.script(calls((name, {})), text("That did not work."))
    reply = await (await start(tools_dir=tools)).caller().say("Do it")
    assert reply.text == "That did not work."
    assert reply.ended_once
    body = str(gemini.requests[1].body["contents"][-1])
    assert told in body
    assert "42" not in body


async def test_wrong_arguments_are_explained_without_running(gemini: Gemini, start: Any, tools: Path) -> None:
    gemini.script(calls(("count", {"number": "many"})), text("Which number?"))
    reply = await (await start(tools_dir=tools)).caller().say("Count")
    assert reply.text == "Which number?"
    assert "Nothing was done: the arguments are wrong. number:" in str(gemini.requests[1].body["contents"][-1])


async def test_at_the_step_limit_the_model_must_answer_without_calls(gemini: Gemini, start: Any, tools: Path) -> None:
    gemini.script(*[calls(("weather", {"city": "Bonn"})) for _ in range(3)], text("I could not finish."))
    reply = await (await start(tools_dir=tools, max_tool_steps=3)).caller().say("Again and again")
    assert reply.text.endswith("I could not finish.")
    assert "toolConfig" not in gemini.requests[2].body
    assert gemini.requests[3].body["toolConfig"] == {"functionCallingConfig": {"mode": "NONE"}}


@pytest.mark.parametrize("status", [429, 503])
async def test_a_refusal_before_the_first_word_is_tried_once_more(gemini: Gemini, start: Any, status: int) -> None:
    gemini.script(error(status), text("Here I am."))
    reply = await (await start()).caller().say("Hello?")
    assert reply.text == "Here I am."


async def test_then_the_fallback_answers(gemini: Gemini, start: Any) -> None:
    gemini.script(error(503), error(503), text("The other model here."))
    reply = await (await start(model_fallback="google_genai:gemini-3.8-flash")).caller().say("Hello?")
    assert reply.text == "The other model here."
    assert [r.model for r in gemini.requests] == [*["gemini-3.5-flash-lite"] * 2, "gemini-3.8-flash"]


async def test_then_an_apology_which_is_remembered_as_the_systems(gemini: Gemini, start: Any) -> None:
    gemini.script(error(503), error(503), text("Now it works."))
    caller = (await start()).caller()
    reply = await caller.say("Hello?")
    assert reply.text == APOLOGY
    assert reply.ended_once
    assert (await caller.say("And now?")).text == "Now it works."
    note = f'⟦system: You gave no answer here. The system said to the caller: "{APOLOGY}"⟧'
    (asked,) = gemini.requests[-1].body["contents"]
    assert asked["parts"] == [{"text": f"Hello?\n{note}\nAnd now?"}]


async def test_silence_is_bounded_by_the_first_token_deadline(gemini: Gemini, start: Any) -> None:
    gemini.script(stall(30, text("Too late.")), text("Quick."))
    reply = await (await start(first_token_seconds=2)).caller().say("Hello?")
    assert reply.text == "Quick."
    assert reply.events[0][0] < 2
    assert gemini.requests[0].closed_early


async def test_a_stream_cut_in_the_middle_ends_in_words(gemini: Gemini, start: Any) -> None:
    """What was said stays said; the apology behind it is not remembered as the model's words."""
    gemini.script(cut(text("One two three four."), after=2), text("Yes?"))
    caller = (await start()).caller()
    reply = await caller.say("Count")
    assert reply.text == f"One two {APOLOGY}"
    assert reply.ended_once
    await caller.say("Go on")
    _, answer, asked = gemini.requests[-1].body["contents"]
    assert answer["parts"] == [{"text": "One two"}]
    assert asked["parts"][0]["text"].startswith("⟦system: Your answer broke off there.")
    assert asked["parts"][0]["text"].endswith(f'"{APOLOGY}"⟧\nGo on')


async def test_an_empty_answer_is_never_silence(gemini: Gemini, start: Any) -> None:
    gemini.script(text(""), text(""))
    reply = await (await start()).caller().say("Hello?")
    assert reply.text == APOLOGY


async def test_a_turn_that_takes_too_long_ends_in_words(gemini: Gemini, start: Any) -> None:
    gemini.script(text("And so on and so on", delay=0.5))
    reply = await (await start(turn_timeout_seconds=0.8)).caller().say("Tell me everything")
    assert reply.text.endswith(APOLOGY)
    assert reply.ended_once
    assert reply.events[-1][0] < 3


async def test_markdown_never_reaches_the_ear_but_stays_in_memory(gemini: Gemini, start: Any) -> None:
    gemini.script(text("**Hello** [there](https://x.example)!", tokens=9), text("Yes."))
    caller = (await start()).caller()
    assert (await caller.say("Hi")).text == "Hello there!"
    await caller.say("Sure?")
    assert gemini.requests[1].body["contents"][1]["parts"] == [{"text": "**Hello** [there](https://x.example)!"}]


async def test_first_words_leave_while_the_model_still_streams(gemini: Gemini, start: Any) -> None:
    """40 tokens at 50 ms: the first words are out within one token's time of the first token."""
    gemini.script(text(" ".join(f"word{n}" for n in range(40)), delay=0.05))
    backend: Backend = await start()
    began = asyncio.get_running_loop().time()
    reply = await backend.caller().say("Speak")
    first_token = gemini.requests[0].tokens[0] - began
    assert reply.events[0][0] - first_token < 0.05
    assert reply.events[0][1]["content"] == "word0"
    assert len([t for t in reply.types if t == "response.tts"]) == 40
    lags = [at - (sent - began) for (at, _), sent in zip(reply.events, gemini.requests[0].tokens, strict=False)]
    assert sorted(lags)[20] < 0.05


async def test_the_whole_exchange_survives_a_restart_with_signatures_untouched(
    gemini: Gemini, start: Any, tools: Path
) -> None:
    gemini.script(calls(("weather", {"city": "Paris"})), text("Sunny.", signature=True), text("Paris."))
    first: Backend = await start(tools_dir=tools)
    conversation = first.caller("conv_1")
    await conversation.say("What's the weather in Paris?")

    second: Backend = await start(tools_dir=tools)
    await second.caller("conv_1").say("Which city was it?", turn="turn_9", session_id="another")

    contents = gemini.requests[2].body["contents"]
    assert [c["role"] for c in contents] == ["user", "model", "user", "model", "user"]
    signature = contents[1]["parts"][0]["thoughtSignature"]
    assert signature == gemini.requests[1].body["contents"][1]["parts"][0]["thoughtSignature"]
    assert contents[3]["parts"][0]["text"] == "Sunny."
