"""`voice dev` in a process of its own: tool files come, break, are mended and go while it runs."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from tests.backend import Reply, client, process, served, signed, stopped

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


async def test_the_secret_made_for_a_run_signs_requests_and_what_is_shown_can_be_called(
    environment: dict[str, str],
) -> None:
    with process(["dev", "--port", "0"], **environment) as running:
        shown = await asyncio.wait_for(asyncio.to_thread(opening, running), 30)
        secret = shown.partition("LAYERCODE_WEBHOOK_SECRET=")[2].split()[0]
        url = shown.partition("Webhook: ")[2].split()[0].rstrip(".")
        assert secret.startswith("whsec_")
        assert "Model: demo" in shown
        body = {"type": "message", "conversation_id": "c", "session_id": "s", "turn_id": "t", "text": "Hello"}
        async with client() as http:
            assert (await http.post(url, **signed(body, secret))).status_code == 200
            assert (await http.post(url, **signed(body, "whsec_another0123456789"))).status_code == 401
        status, _ = await stopped(running)
    assert status == 0


def opening(running: subprocess.Popen[str]) -> str:
    """What it prints until it serves."""
    assert running.stdout
    shown = ""
    while "Application startup complete" not in shown:
        line = running.stdout.readline()
        assert line, f"it ended: {shown}"
        shown += line
    return shown
