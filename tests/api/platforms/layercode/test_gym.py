"""layercode-gym, unmodified, from PyPI: it holds a conversation with `voice dev` in a process of its own."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

from tests.support.backend import ROOT, served

GYM = "layercode-gym==0.9.1"
TIDES = '''
from agent import voice_tool

@voice_tool
async def tides(harbour: str) -> str:
    """Next high and low water at a harbour."""
    return f"Six in {harbour}."
'''


async def test_layercode_gym_has_a_scripted_conversation_with_our_backend(tmp_path: Path) -> None:
    """In an environment of its own, as it brings 150 MB of dependencies. It does not write down the last answer."""
    places = ["Dover", "Brest", "Oslo", "Lima", "Kobe"]
    said = [f"When are the tides in {place}?" for place in places]
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "tides.py").write_text(TIDES)
    uv = shutil.which("uv")
    assert uv, "uv is not installed: layercode-gym needs an environment of its own"
    command = [uv, "run", "--no-project", "--isolated", "--python", "3.11", "--with", GYM]
    command += ["python", "-W", "ignore", str(ROOT / "tests/api/platforms/layercode/clients/gym.py")]
    environment = {"DATABASE_URL": f"sqlite:///{tmp_path}/v.db", "TOOLS_DIR": str(tmp_path / "tools")}
    async with served(command="dev", WELCOME_MESSAGE="Hello.", **environment) as server:
        pipe = asyncio.subprocess.PIPE
        run = await asyncio.create_subprocess_exec(
            *command, server.url, str(tmp_path / "gym"), *said, cwd=tmp_path, stdout=pipe, stderr=pipe
        )
        try:
            printed, errors = await asyncio.wait_for(run.communicate(), 240)
        finally:
            if run.returncode is None:
                run.kill()
                await run.wait()
        assert run.returncode == 0, errors.decode()[-2000:]
        asked = {"conversation_id": printed.decode().split()[-1]}
        shown = (await server.http.get(f"{server.url}/playground/state", params=asked)).json()
    (file,) = (tmp_path / "gym").glob("*/transcript.json")
    turns = json.loads(file.read_text())["turns"]
    answers = ["Hello.", *(f"Six in {place}." for place in places)]
    demo = "This is the demo: no language model, only your tools. "
    written = [(turn["assistant"]["content"].removeprefix(demo), turn["user"]["content"]) for turn in turns]
    assert written == list(zip(answers[:-1], said, strict=True))
    assert [line["caller"] for line in shown["memory"] if "caller" in line][-5:] == said
    assert not [line for line in shown["memory"] if line.get("interrupted")]
    assert [turn["outcome"] for turn in shown["turns"]] == ["answered"] * 6
