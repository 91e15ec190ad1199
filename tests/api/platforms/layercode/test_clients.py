"""The official clients, unmodified: js-sdk and node-server-sdk from npm. layercode-gym is in test_gym.py."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.backend import SECRET, Backend, served, stopped
from tests.support.playground import Foreign, connected, development, foreign

CLIENTS = Path(__file__).parent / "clients"
NODE_PACKAGES = {"@layercode/js-sdk": "2.8.10", "@layercode/node-server-sdk": "1.2.1", "ws": "8.18.3"}
Message = dict[str, Any]


@pytest.fixture(scope="session")
def node_folder() -> Path:
    """A folder with node_modules, kept between runs. The packages alone: they need none of their dependencies here,
    and those of js-sdk, for voice detection, are 150 MB."""
    for program in ("node", "npm"):
        assert shutil.which(program), f"{program} is not installed: these tests need Node.js 18 or newer, and npm"
    folder = Path(tempfile.gettempdir()) / "-".join(["voice-node", *NODE_PACKAGES.values()])
    for name, version in NODE_PACKAGES.items():
        target = folder / "node_modules" / name
        if not target.exists():
            _unpack(f"{name}@{version}", target)
    for script in CLIENTS.glob("*.mjs"):
        shutil.copy(script, folder)
    return folder


def _unpack(package: str, target: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        command = ["npm", "pack", package, "--pack-destination", scratch]
        packed = subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=120)
        assert packed.returncode == 0, f"{package} cannot be had from npm: {packed.stderr[-500:]}"
        with tarfile.open(next(Path(scratch).glob("*.tgz"))) as archive:
            archive.extractall(scratch, filter="data")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(f"{scratch}/package", target)


class Sdk:
    """One js-sdk client. `got`: what it called back with, in order."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.got: list[Message] = []

    async def send(self, **line: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(line).encode() + b"\n")
        await self._process.stdin.drain()

    async def until(self, type_: str) -> Message:
        async with asyncio.timeout(30):
            while True:
                assert self._process.stdout
                line = await self._process.stdout.readline()
                assert line, f"the client ended; it had got {self.got[-5:]}"
                self.got.append(json.loads(line))
                if self.got[-1]["type"] == type_:
                    return self.got[-1]

    async def say(self, text: str) -> str:
        """Say it, and hear the whole answer."""
        await self.send(text=text)
        turn = (await self.until("response.end"))["turn_id"]
        return "".join(m["content"] for m in self.got if m["type"] == "response.text" and m["turn_id"] == turn)


@asynccontextmanager
async def sdk(folder: Path, server: str, conversation: str = "") -> AsyncIterator[Sdk]:
    """Connected, and welcomed."""
    command = ["node", "sdk.mjs", server, *([conversation] if conversation else [])]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdin=pipe, stdout=pipe, stderr=None)
    try:
        client = Sdk(process)
        await client.until("connected")
        await client.until("response.end")
        yield client
        assert process.stdin
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
async def dev(tmp_path: Path) -> AsyncIterator[Backend]:
    """`voice dev` in a process of its own, without any key."""
    environment = {"DATABASE_URL": f"sqlite:///{tmp_path}/voice.db", "WELCOME_MESSAGE": "Hello."}
    async with served(command="dev", **environment) as backend:
        yield backend


async def state(url: str, conversation: str) -> Message:
    async with httpx.AsyncClient() as http:
        made: Message = (await http.get(f"{url}/playground/state", params={"conversation_id": conversation})).json()
        return made


async def test_js_sdk_talks_interrupts_sends_data_and_resumes(node_folder: Path, dev: Backend) -> None:
    async with sdk(node_folder, dev.url) as client:
        conversation = client.got[0]["conversationId"]
        assert "in Tokyo" in await client.say("What time is it in Tokyo?")
        assert "in Paris" in await client.say("What time is it in Paris?")
        await client.send(data={"cart": ["A-17"]})
        assert (await client.until("response.data"))["content"] == {}
        assert await client.say("Book a table for four at 19:00") == "Book a table for 4 today at 19:00?"
        await client.send(text="What time is it in Lima?")
        while " Lima" not in (await client.until("response.text"))["content"]:
            pass
        lima = client.got[-1]["turn_id"]
        assert "in Rome" in await client.say("What time is it in Rome?")
        assert not [m for m in client.got if m["type"] == "error"]
    async with sdk(node_folder, dev.url, conversation) as client:
        assert client.got[0]["conversationId"] == conversation
        assert [m["content"] for m in client.got if m["type"] == "response.text"] == [
            "Welcome back. What can I do for you?"
        ]
        assert "in Oslo" in await client.say("What time is it in Oslo?")
    shown = await state(dev.url, conversation)
    assert dev.process
    status, printed = await stopped(dev.process)
    assert status == 0
    assert f"*** Talk to your agent: {dev.url} ***" in printed
    assert "lc_sesskey" not in printed
    assert "What time is it in Paris" not in printed
    callers = [line["caller"] for line in shown["memory"] if "caller" in line]
    words = [said.rpartition("\n")[2] for said in callers]
    assert [said for said in words if not said.startswith("⟦")] == [
        "What time is it in Tokyo?",
        "What time is it in Paris?",
        "Book a table for four at 19:00",
        "What time is it in Lima?",
        "What time is it in Rome?",
        "What time is it in Oslo?",
    ]
    assert '"cart"' in callers[3]
    assert callers[5].startswith("⟦system: The caller")
    whole = [turn for turn in shown["turns"] if turn["turn_id"] == lima]
    assert whole[0]["outcome"] in ("answered", "interrupted")


async def test_js_sdk_interrupts_an_answer_and_the_backend_learns_what_was_heard(
    node_folder: Path, tmp_path: Path
) -> None:
    async with foreign() as backend, development(backend.url, database_url=f"sqlite:///{tmp_path}/v.db") as server:
        async with sdk(node_folder, server.url) as client:
            await client.send(text="slow")
            for _ in range(12):
                await client.until("response.text")
            assert await client.say("Stop.") == "Stop."
        slow, stop = await _messages(backend)
    context = stop["interruption_context"]
    assert context["assistant_turn_id"] == slow["turn_id"]
    assert context["text_heard"].startswith("word1 word2")
    assert 2 <= context["words_heard"] == len(context["text_heard"].split()) <= 12
    assert backend.dropped == [slow["turn_id"]]


async def _messages(backend: Foreign) -> list[Message]:
    await backend.until("session.end")
    return backend.of("message")


async def test_a_backend_on_node_server_sdk_answers_through_it(node_folder: Path, tmp_path: Path) -> None:
    """`voice dev --webhook`: the signature is accepted by the official SDK, and by another secret it is not."""
    environment = {**os.environ, "LAYERCODE_WEBHOOK_SECRET": SECRET}
    command = ["node", "backend.mjs"]
    with subprocess.Popen(command, cwd=node_folder, env=environment, stdout=subprocess.PIPE, text=True) as node:
        try:
            assert node.stdout
            url = f"http://127.0.0.1:{int(await asyncio.to_thread(node.stdout.readline))}/hook"
            async with development(url, database_url=f"sqlite:///{tmp_path}/v.db") as server:
                async with connected(server.url) as client:
                    await client.say("Grüß Gott ☕")
                    assert await client.answer() == "Before that: nothing."
                    await client.say("Noch etwas")
                    assert await client.answer() == "Before that: Grüß Gott ☕."
                assert not client.of("playground.error")
            async with (
                development(
                    url, layercode_webhook_secret=f"{SECRET}x", database_url=f"sqlite:///{tmp_path}/x.db"
                ) as server,
                connected(server.url) as client,
            ):
                (error,) = client.of("playground.error")
            assert "refused the signature (401)" in error["error"]
        finally:
            node.kill()
