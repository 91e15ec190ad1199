"""Fixed lines in the caller's language, row S8: a German is told in German that something is looked up, asked in German
whether to book, and apologised to in German."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from agent import voice_tool
from agent.languages import _OWN, all_of, in_language, own_line, tag_of
from agent.llm import Models
from agent.memory.in_words import DONE
from agent.replay import differences
from agent.tooling.mcp_config import McpFileError, load_servers
from agent.tooling.waiting import STANDARD
from api.cli.replay import project_of
from api.replay import replay
from api.replay.recording import settings_in_force
from api.settings import NotConfigured, Settings
from tests.support.gemini import Gemini, calls, error, text
from tests.support.recordings import recorded

TOOLS = '''
import asyncio
import datetime
from agent import voice_tool

@voice_tool(
    say={"en": "Looking in {place}.", "de": "Ich sehe in {place} nach."},
    slow=[{"en": "Looking on.", "de": "Ich suche noch."}],
    slow_after=0.1,
    on_barge_in="cancel",
)
async def look(place: str, seconds: float = 0) -> str:
    """Look somewhere."""
    await asyncio.sleep(seconds)
    return "Nothing."

@voice_tool(confirm={"en": "Book {day} with {extras}?", "de": "Soll ich {day} mit {extras} buchen?"})
async def book(day: datetime.date, extras: list[str]) -> str:
    """Book something."""
    return "Booked."

@voice_tool(confirm={"en": "Mix {parts}?", "de": "Soll ich {parts} mischen?"})
async def mix(parts: dict[str, float]) -> str:
    """Mix a drink."""
    return "Mixed."

@voice_tool(slow_after=0.1)
async def wait(seconds: float) -> str:
    """It takes its time."""
    await asyncio.sleep(seconds)
    return "{}"
'''
GERMAN = {"custom_metadata": {"language": "de-DE"}}
SORRY = {tag: own_line(Models.apology, tag) for tag in ("en", "de", "fr", "es", "ja")}


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    folder.mkdir()
    (folder / "many.py").write_text(TOOLS)
    return folder


def system_prompt(body: dict[str, Any]) -> str:
    return str(body["systemInstruction"]["parts"][0]["text"])


async def test_s8_a_tools_lines_and_its_question_are_in_the_conversations_language(
    gemini: Gemini, start: Any, tools: Path
) -> None:
    gemini.script(
        calls(("look", {"place": "Rom", "seconds": 0.15})), text("Nichts."),
        calls(("book", {"day": "2026-12-24", "extras": ["Tee", "Kuchen"]})), text("Gern."),
    )  # fmt: skip
    caller = (await start(tools_dir=tools)).caller()
    assert (await caller.say("Sieh nach", **GERMAN)).text == "Ich sehe in Rom nach. Ich suche noch. Nichts."
    booked = await caller.say("Buch es", **GERMAN)
    assert booked.text.endswith("Soll ich 24. Dezember mit Tee und Kuchen buchen?")
    gemini.unused.clear()


async def test_s8_what_is_in_a_value_is_said_in_the_language_too(gemini: Gemini, start: Any, tools: Path) -> None:
    parts = [{"key": "Tee", "value": 0.5}, {"key": "Milch", "value": 1.25}]
    gemini.script(calls(("mix", {"parts": parts})))
    reply = await (await start(tools_dir=tools)).caller().say("Misch es", **GERMAN)
    assert reply.text == "Soll ich Tee 0,5 und Milch 1,25 mischen?"


async def test_s8_the_language_is_remembered_and_the_model_is_told(gemini: Gemini, start: Any, tools: Path) -> None:
    """Once told it holds, also for a server that has been started anew, until another one is told."""
    look = calls(("look", {"place": "Rom"}))
    gemini.script(look, text("Nichts."), look, text("Nichts."), look, text("Nothing."))
    caller = (await start(tools_dir=tools)).caller("c1")
    await caller.say("Sieh nach", **GERMAN)
    caller = (await start(tools_dir=tools)).caller("c1")
    assert (await caller.say("Noch einmal", turn="t2")).text == "Ich sehe in Rom nach. Nichts."
    english = {"custom_metadata": {"language": "en"}}
    assert (await caller.say("And in English?", turn="t3", **english)).text == "Looking in Rom. Nothing."
    told = [system_prompt(request.body).rpartition("\n\n")[2] for request in gemini.requests]
    assert told[:2] == ["The conversation is in German (de-DE)."] * 2
    assert all(words.startswith("The conversation is in German (de-DE). If the caller ") for words in told[2:4])
    assert told[4:] == ["The conversation is in English (en)."] * 2


async def test_s8_without_a_language_the_default_one_is_spoken_and_the_model_is_told_none(
    gemini: Gemini, start: Any, tools: Path
) -> None:
    look = calls(("look", {"place": "Rom"}))
    gemini.script(look, text("Nichts."))
    reply = await (await start(tools_dir=tools, default_language="de")).caller().say("Sieh nach")
    assert reply.text == "Ich sehe in Rom nach. Nichts."
    assert "The conversation is in" not in system_prompt(gemini.requests[0].body)


@pytest.mark.parametrize("language", SORRY)
async def test_s8_the_products_own_lines_are_known_in_five_languages(gemini: Gemini, start: Any, language: str) -> None:
    gemini.script(error(503), error(503))
    reply = await (await start()).caller().say("?", custom_metadata={"language": language})
    assert reply.text == SORRY[language]
    assert len(set(SORRY.values())) == 5


async def test_s8_standard_lines_and_what_is_said_in_the_models_place_are_in_the_language(
    gemini: Gemini, start: Any, tools: Path
) -> None:
    gemini.script(calls(("wait", {"seconds": 0.15})), text("👍"), text("👍"))
    reply = await (await start(tools_dir=tools)).caller().say("Warte", **GERMAN)
    assert reply.text == "Einen Moment, bitte. Das ist erledigt."


async def test_s8_settings_are_given_for_each_language(gemini: Gemini, start: Any) -> None:
    welcome = '{"en": "Hello!", "de": "Guten Tag!", "de-AT": "Servus!"}'
    backend = await start(welcome_message=welcome)
    said = [
        (await backend.caller().say(None, type="session.start", custom_metadata={"language": language})).text
        for language in ("en-US", "de_DE", "de-at", "fr", "multi")
    ]
    assert said == ["Hello!", "Guten Tag!", "Servus!", "Hello!", "Hello!"]
    assert not gemini.requests


async def test_s8_a_recorded_conversation_replays_in_its_language(
    gemini: Gemini, start: Any, tools: Path, tmp_path: Path
) -> None:
    gemini.script(calls(("look", {"place": "Rom"})), text("Nichts."), error(503), error(503))
    backend = await start(tools_dir=tools)
    caller = backend.caller("c1")
    await caller.say("Sieh nach", **GERMAN)
    await caller.say("Und jetzt?")
    settings = Settings(_env_file=None, tools_dir=tools, database_url=f"sqlite:///{tmp_path}/voice.db")
    project = project_of(settings)
    run = await recorded(backend, "c1", tools_dir=tools, database_url=settings.database_url)
    assert run.settings == settings_in_force(settings, project.config)
    spoken = ["".join(content for _, kind, content in turn.sent if kind == "say") for turn in run.turns]
    assert spoken == ["Ich sehe in Rom nach. Nichts.", SORRY["de"]]
    assert differences(run, (await asyncio.to_thread(replay, run, project)).run) == []


# What is checked beforehand


def test_every_own_line_is_known_in_every_language() -> None:
    names = ("apology", "ending", "thinking", "welcome_back", "idle", "idle_goodbye")
    own = {*STANDARD, DONE, *(str(Settings.model_fields[f"{name}_message"].default) for name in names)}
    assert own == set(_OWN)
    assert all(set(lines) == {"de", "fr", "es", "ja"} for lines in _OWN.values())


@pytest.mark.parametrize(
    ("told", "tag"),
    [("de", "de"), ("de_DE", "de-DE"), ("EN-us", "en-US"), ("zh-Hant", "zh-hant"), ("multi", ""), ("", ""),
     ("German", ""), (None, ""), (7, ""), ("de; ignore all", "")],
)  # fmt: skip
def test_a_language_is_a_tag_or_none(told: object, tag: str) -> None:
    assert tag_of(told) == tag


def test_a_text_is_taken_for_the_nearest_language() -> None:
    texts = {"de": "Hallo", "pt-BR": "Oi", "en": "Hello"}
    assert [in_language(texts, tag) for tag in ("de-CH", "pt-br", "pt", "fr")] == ["Hallo", "Oi", "Hello", "Hello"]
    assert in_language({"fr": "Salut"}, "de") == "Salut"
    assert in_language("Hi", "de") == "Hi"
    assert all_of("Hi") == ["Hi"]


@pytest.mark.parametrize("given", [{"de": "Ich sehe in {ort} nach."}, {"german": "x"}])
@pytest.mark.parametrize("option", ["say", "slow", "confirm"])
def test_a_tools_texts_are_checked_in_every_language(option: str, given: Any) -> None:
    async def look(place: str) -> str:
        """Look somewhere."""
        return place

    with pytest.raises(ValueError, match=rf"tool 'look': {option}="):
        voice_tool(**{option: given})(look)


def test_an_mcp_servers_texts_may_be_for_each_language(tmp_path: Path) -> None:
    def written(say: Any) -> Path:
        path = tmp_path / "mcp.json"
        path.write_text(json.dumps({"mcpServers": {"time": {"command": "x", "tools": {"now": {"say": say}}}}}))
        return path

    say = {"en": "Looking.", "de": "Ich sehe nach."}
    assert load_servers(written(say))["time"].tool_options("now", reads=True).say == say
    with pytest.raises(McpFileError):
        load_servers(written(7))


@pytest.mark.parametrize("value", ['{"en": ', '{"english": "Hello"}', "{}", '{"en": 7}'])
def test_a_setting_that_is_no_text_for_each_language_is_one_sentence(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WELCOME_MESSAGE", value)
    with pytest.raises(NotConfigured) as refused:
        Settings.load()
    assert all(problem.startswith("WELCOME_MESSAGE: ") for problem in refused.value.problems)


def test_a_default_language_is_a_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFAULT_LANGUAGE", "German")
    with pytest.raises(NotConfigured, match=r"DEFAULT_LANGUAGE: It must be a language tag"):
        Settings.load()
