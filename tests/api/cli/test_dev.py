"""`voice dev` in a process of its own: tool files come, break, are mended and go while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.backend import SECRET, Reply, client, free_port, process, served, stopped, until_ready
from tests.support.playground import connected, foreign

TOOL = '''
from agent import voice_tool

@voice_tool
async def tides(harbour: str) -> str:
    """Next high and low water at a harbour."""
    return f"{answer} in {{harbour}}."
'''


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "tools").mkdir()
    return {"MODEL": "demo", "TOOLS_DIR": str(tmp_path / "tools"), "DATABASE_URL": f"sqlite:///{tmp_path}/voice.db"}


def save(path: Path, text: str) -> None:
    """As an editor does, in one step."""
    draft = path.with_suffix(".tmp")
    draft.write_text(text)
    draft.replace(path)


def tools_of(reply: Reply) -> set[str]:
    return {data["tool"] for data in reply.data}


async def test_a_tool_file_is_added_broken_mended_and_deleted_while_it_runs(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """Each is seen on the next question. While it is broken its last good version stays, and file and line are
    told. A file that was broken before the start does not prevent it."""
    tides, early = tmp_path / "tools" / "tides.py", tmp_path / "tools" / "early.py"
    early.write_text("import os\n\n1 / 0\n")
    async with served(command="dev", **environment) as backend:
        caller = backend.caller()
        before = await caller.say("When are the tides in Dover?")
        assert not tools_of(before)

        save(tides, TOOL.format(answer="High water at six"))
        added = await caller.say("When are the tides in Dover?")
        save(tides, TOOL.format(answer="Broken") + "\ndef broken(:\n")
        broken = await caller.say("When are the tides in Brest?")
        save(tides, TOOL.format(answer="Low water at nine"))
        mended = await caller.say("When are the tides in Calais?")
        save(early, TOOL.format(answer="").replace("tides", "moon").replace("harbour", "place"))
        early_mended = await caller.say("How is the moon in Oslo?")
        tides.unlink()
        deleted = await caller.say("When are the tides in Dover?")

        assert backend.process
        status, output = await stopped(backend.process)
    assert added.text == "High water at six in Dover."
    assert broken.text == "High water at six in Brest."
    assert mended.text == "Low water at nine in Calais."
    assert tools_of(early_mended) == {"moon"}
    assert "I found no tool for that" in deleted.text
    assert all(reply.ended_once for reply in (before, added, broken, mended, early_mended, deleted))
    assert f"{early}:3: ZeroDivisionError" in output
    assert output.count(f"{tides}:9: SyntaxError") == 1
    assert "Traceback" not in output
    assert status == 0


async def test_another_backend_is_talked_to_and_nothing_is_said_of_its_inside(
    environment: dict[str, str],
) -> None:
    """Without a model's key here. By its number: the playground answers to no other name than localhost."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with foreign() as backend:
        there = backend.url.replace("http://", "http://name:password@")
        command = ["dev", "--host", "localhost", "--port", str(port), "--webhook", there]
        environment |= {"MODEL": "gemini-3.5-flash-lite", "LAYERCODE_WEBHOOK_SECRET": SECRET}
        with process(command, **environment) as running:
            async with client() as http:
                await until_ready(http, url, running)
            async with connected(url) as caller:
                await caller.say("Hi.")
                assert await caller.answer() == "Hi."
            status, output = await stopped(running)
    assert status == 0
    assert f"*** Talk to your agent: {url} ***" in output
    assert f"Webhooks go to {backend.url}, and are signed" in output
    for untrue in ("DEMO", "Model:", "Missing", "--tunnel", "password"):
        assert untrue not in output
