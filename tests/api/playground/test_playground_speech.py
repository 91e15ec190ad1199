"""`voice dev` with the extra `speech`: it speaks in time, knows what was heard of it, and hears where speech ends."""

from __future__ import annotations

import asyncio
import base64
import shutil
import subprocess
import tomllib
from array import array
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.backend import ROOT, SECRET, client, free_port, until_ready
from tests.support.playground import connected

WELCOME = "Good morning. How can I help you today?"


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    """In an environment that has the extra on top of this one's."""
    uv = shutil.which("uv")
    assert uv, "uv is not installed: the extra `speech` needs an environment of its own"
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["speech"]
    port = free_port()
    command = [uv, "run", "--no-sync", "--project", str(ROOT), *(arg for one in extra for arg in ("--with", one))]
    environment = {"MODEL": "demo", "WELCOME_MESSAGE": WELCOME, "LAYERCODE_WEBHOOK_SECRET": SECRET}
    command += ["env", *(f"{name}={value}" for name, value in environment.items())]
    command += [f"TOOLS_DIR={ROOT / 'tools'}", f"PYTHONPATH={ROOT}", "python", "-m", "api.cli.main", "dev", "--port"]
    pipe = subprocess.PIPE
    running = subprocess.Popen([*command, str(port)], cwd=tmp_path, stdout=pipe, stderr=subprocess.STDOUT, text=True)
    try:
        async with client() as http:
            await until_ready(http, f"http://127.0.0.1:{port}", running)
        yield f"http://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.communicate(timeout=20)


async def test_it_speaks_in_time_is_cut_by_time_and_hears(url: str) -> None:
    async with connected(url, ready=False) as caller:
        await caller.send("client.ready")
        await caller.until("response.audio")
        began = asyncio.get_running_loop().time()
        await caller.until("response.end")
        took = asyncio.get_running_loop().time() - began
        spoken = b"".join(base64.b64decode(message["content"]) for message in caller.of("response.audio"))
        seconds = len(spoken) / 2 / 16_000
        assert 1.5 < seconds < 5
        assert max(array("h", spoken)) > 3_000
        assert took > seconds - 0.2

        await caller.say("What time is it in Tokyo?")
        turn = (await caller.until("response.audio"))["turn_id"]
        cut_from = asyncio.get_running_loop().time()
        await asyncio.sleep(1.5)
        await caller.say("What time is it in Paris?")
        heard = await caller.until("playground.heard")
        assert heard["turn_id"] == turn
        assert 1 <= heard["words"] < heard["of"]
        passed = asyncio.get_running_loop().time() - cut_from
        sent = [message["content"] for message in caller.of("response.audio") if message["turn_id"] == turn]
        assert sum(len(base64.b64decode(content)) for content in sent) / 2 / 16_000 < passed + 1

        low = array("h", spoken)[::2].tobytes()
        for start in range(0, len(low), 1_600):  # all at once, and without a word that this was all
            await caller.send("client.audio", content=base64.b64encode(low[start : start + 1_600]).decode())
        await caller.until("turn.start", role="user")
        transcript = await caller.until("user.transcript", seconds=60)
        assert transcript["content"].strip()
        assert len(caller.of("playground.heard")) == 2
        assert not caller.of("playground.error")
